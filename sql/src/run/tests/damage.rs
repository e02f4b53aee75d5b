//! Damaged and missing files.

use super::*;
use crate::run::QueryErrorKind;
use crate::tables::fixture::Row;

const FILE: &str = "data/file0.parquet";

fn row(host: usize, time: i64, stamp: u64) -> Row {
    let usage = Some(host as f64 * 1.5 + time as f64);
    Row { host: Some(format!("h{host}")), region: Some(format!("r{host}")), time, stamp, usage, ..Row::default() }
}

/// 80 regions, so that the file has a filter for them.
fn rows_of_a_file() -> Vec<Row> {
    (0..80).flat_map(|host| (0..3).map(move |time| row(host, time, 0))).collect()
}

const ASKED: [&str; 4] = [
    "SELECT * FROM cpu ORDER BY host, time",
    "SELECT sum(usage) FROM cpu WHERE region = 'r7'",
    "SELECT count(*) FROM cpu WHERE host > 'h5' AND time = '1970-01-01T00:00:00.000000001'",
    "SELECT host, max(usage) FROM cpu GROUP BY host ORDER BY host",
];

#[tokio::test]
async fn a_changed_byte_is_an_error_that_names_the_file_and_never_another_answer() {
    let plain = Cluster::new().checked_file(rows_of_a_file()).await;
    let merged = plain.clone().checked_file(vec![row(3, 1, 9), row(90, 2, 9)]).await;
    let whole = plain.bytes(FILE).await;
    let mut expected = Vec::new();
    for cluster in [&plain, &merged] {
        for text in ASKED {
            expected.push(value(&engine(cluster), text).await);
        }
    }
    let mut noticed = 0;
    for (i, at) in (0..whole.len()).step_by(whole.len() / 60).chain(whole.len() - 9..whole.len()).enumerate() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (i % 8);
        plain.overwrite(FILE, bytes).await;
        let asked = i % (2 * ASKED.len());
        let cluster = if asked < ASKED.len() { &plain } else { &merged };
        match ask(&engine(cluster), query(ASKED[asked % ASKED.len()])).await {
            Ok(batches) => {
                assert_eq!(batches.iter().flat_map(texts).collect::<Vec<_>>().join("\n"), expected[asked], "byte {at}");
            }
            Err(error) => {
                noticed += 1;
                assert_eq!(error.kind(), QueryErrorKind::Execution, "byte {at}: {error}");
                assert!(error.to_string().starts_with("file data/file0.parquet is damaged: bytes "), "{at}: {error}");
            }
        }
    }
    assert!(noticed > 50, "{noticed}");
}

#[tokio::test]
async fn a_missing_or_shorter_file_is_named() {
    let plain = Cluster::new().checked_file(rows_of_a_file()).await.file(vec![row(200, 0, 0)]).await;
    let merged = Cluster::new().checked_file(rows_of_a_file()).await.file(vec![row(3, 1, 9)]).await;
    for cluster in [plain, merged] {
        for path in [FILE, "data/file1.parquet"] {
            let whole = cluster.bytes(path).await;
            for len in [0, 4, 100, whole.len() - 1] {
                cluster.overwrite(path, whole[..len].to_vec()).await;
                let error = ask(&engine(&cluster), query(ASKED[0])).await.unwrap_err();
                assert!(error.to_string().contains(path), "{len}: {error}");
            }
            cluster.remove(path).await;
            let error = ask(&engine(&cluster), query(ASKED[0])).await.unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
            assert_eq!(error.kind(), QueryErrorKind::Unavailable, "{error}");
            cluster.overwrite(path, whole).await;
        }
    }
}
