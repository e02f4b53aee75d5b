//! What a statement does to the sessions of other Postgres clients.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::postgres::{asked, with_rows};
use super::*;
use crate::postgres::{Active, Activity, PgSession};

/// Five sessions, the first the oldest, and what was done to them.
#[derive(Debug, Default)]
struct Sessions {
    ended: Mutex<Vec<i32>>,
    listed: AtomicUsize,
}

impl Activity for Sessions {
    fn sessions(&self) -> Vec<Active> {
        self.listed.fetch_add(1, Ordering::Relaxed);
        (1..=5).filter_map(|backend| self.session(backend)).collect()
    }

    fn session(&self, backend: i32) -> Option<Active> {
        let user = format!("user{backend}");
        (1..=5).contains(&backend).then(|| Active {
            backend,
            user,
            began_ns: i64::from(backend) * 1_000_000_000,
            ..Active::default()
        })
    }

    fn cancel(&self, _: i32) {}

    fn terminate(&self, backend: i32) {
        self.ended.lock().push(backend);
    }
}

/// Which sessions a statement ends; the error, when it is refused.
async fn ended(engine: &Engine, text: &str) -> (Result<Vec<i32>, String>, usize) {
    let sessions = Arc::new(Sessions::default());
    let asked = asked(text);
    let session = asked.postgres.as_deref().cloned().unwrap();
    let session = PgSession { activity: Some(Arc::clone(&sessions) as _), ..session };
    let answer = ask(engine, Query { postgres: Some(Arc::new(session)), ..asked }).await;
    let mut ended = sessions.ended.lock().clone();
    ended.sort_unstable();
    let listed = sessions.listed.load(Ordering::Relaxed);
    (answer.map(|_| ended).map_err(|error| format!("{error}; {:?}", sessions.ended.lock())), listed)
}

#[tokio::test]
async fn sessions_are_ended_for_the_rows_that_are_answered_alone() {
    // One part for each query, as on a node that plans so small a table.
    let config = EngineConfig { target_partitions: 1, options: Arc::<str>::default().into(), ..config() };
    let cluster = Cluster::new();
    let engine = Engine::new(config, Arc::new(cluster.clone()), cluster.dyn_store()).unwrap();
    for (text, expected) in [
        ("SELECT pg_terminate_backend(3)", &[3][..]),
        ("SELECT pg_terminate_backend(3) LIMIT 1", &[3]),
        ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity LIMIT 2", &[1, 2]),
        ("SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = 3", &[3]),
        ("SELECT pg_terminate_backend(pid), pid FROM pg_stat_activity WHERE usename > 'user3' ORDER BY pid", &[4, 5]),
        ("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> 2 LIMIT 1", &[1, 3, 4, 5]),
        (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN \
             (SELECT pid FROM pg_stat_activity ORDER BY backend_start DESC LIMIT 2)",
            &[4, 5],
        ),
        ("SELECT * FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity ORDER BY backend_start) LIMIT 1", &[1]),
        ("SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE pid > 1", &[2]),
    ] {
        assert_eq!(ended(&engine, text).await.0, Ok(expected.to_vec()), "{text}");
    }
    for text in [
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity ORDER BY backend_start LIMIT 1",
        "SELECT pg_terminate_backend(pid) AS t, pid FROM pg_stat_activity ORDER BY pid DESC LIMIT 1 OFFSET 1",
        "SELECT pid FROM pg_stat_activity WHERE pid < 3 AND pg_terminate_backend(pid)",
        "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) AS t FROM pg_stat_activity WHERE pid < 3) WHERE t",
        "SELECT count(pg_terminate_backend(pid)) FILTER (WHERE pid < 3) FROM pg_stat_activity",
        // The engine makes these columns below the filter.
        "SELECT usename, pg_terminate_backend(pid), application_name || query || state FROM pg_stat_activity \
         WHERE usename > 'user3'",
    ] {
        let (refused, _) = ended(&engine, text).await;
        let refused = refused.expect_err(text);
        assert!(refused.contains("pg_terminate_backend") && refused.ends_with("; []"), "{text}: {refused}");
    }
}

#[tokio::test]
async fn one_session_is_found_without_listing_all() {
    let text = "SELECT count(pg_terminate_backend(value)) FROM generate_series(-10, 100000)";
    assert_eq!(ended(&with_rows().await, text).await, (Ok(vec![1, 2, 3, 4, 5]), 0));
}
