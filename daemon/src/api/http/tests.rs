//! The whole router over a node in memory: who may pass which door, and what is answered where there is none.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use storage::bucket::InMemory;
use storage::catalog::{Asked, Description, Limits};
use storage::clock::Clock;
use storage::model::NodeId;
use storage::node::{Config, Node, World};
use storage::tasks::{Cpu, Tasks};
use storage::wal::OnDamage;
use storage::{cluster, compaction, ingest, replica, snapshot, sweep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::*;
use crate::config::{AuthConfig, Forward};

fn storage_config() -> Config {
    let hour = Duration::from_secs(3600);
    Config {
        cluster: NodeId::new("c").expect("a good name"),
        member: cluster::Config {
            node: NodeId::new("n").expect("a good name"),
            core_count: 1,
            description: Description::default(),
            place: cluster::Place::here(),
            take_over: cluster::TakeOver::Refuse,
            follow_every: Duration::from_secs(1),
            checkpoint_every: 100,
        },
        limits: Limits::default(),
        on_damage: OnDamage::Fail,
        ingest: Some(ingest::Config {
            flush_interval: Duration::from_millis(10).into(),
            group_bytes_max: 4 << 20,
            waiting_writes_max: 100,
            waiting_bytes_max: 64 << 20,
            buffer_bytes_max: (1 << 30).into(),
            answer_within: Duration::from_secs(30),
        }),
        snapshot: snapshot::Config {
            bytes_max: (256 << 20).into(),
            periods_max: 600.into(),
            age_max: hour.into(),
            gen1: hour,
        },
        compaction: Some(compaction::Config {
            check_every: hour.into(),
            widths: vec![2 * hour],
            files_max: 100.into(),
            rows_max: 1_000_000.into(),
            input_bytes_max: 64 << 20,
        }),
        sweep: sweep::Config {
            every: hour,
            file_wait: hour,
            wal_objects_kept: 0,
            retention_every: hour,
            catalog_kept: 24 * hour,
            garbage_every: hour,
            orphan_age: 24 * hour,
            clock_trusted_after: hour,
        },
        replica: Some(replica::Config {
            interval: Duration::from_millis(250),
            bytes_max: (64 << 20).into(),
            start_within: Duration::from_secs(10),
        }),
    }
}

struct Api {
    router: Router,
    service: TowerToHyperService<Router>,
    node: Node,
}

fn http_config(open: Vec<OpenEndpoint>) -> HttpConfig {
    HttpConfig {
        bind: String::new(),
        advertise: None,
        forward: Forward::On,
        tls: None,
        authority: None,
        auth: AuthConfig::On { open },
        request_bytes_max: 1 << 20,
        in_flight_bytes_max: 4 << 20,
        connections_max: 1,
        shutdown_timeout: Duration::ZERO,
    }
}

impl Api {
    /// The API of a node that asks for tokens, but for `open`.
    async fn start(open: Vec<OpenEndpoint>) -> Self {
        let (config, registry) = (http_config(open), Registry::new());
        let trust = Trust::of(&config).expect("nobody is named");
        let world = World {
            store: Arc::new(InMemory::new()),
            clock: Clock::simulated(1_760_000_000_000_000, 1),
            tasks: Tasks::new(Cpu::Here),
            registry: registry.clone(),
            wire: None,
        };
        let node = Node::start(storage_config(), world).await.expect("the node starts");
        let facts = Arc::new(sql::Facts::new("n".into(), 10.into(), node.insight.clone(), Arc::default()));
        let operator = Arc::new(sql::Operator {
            catalog: Arc::clone(&node.catalog),
            member: node.member.clone(),
            facts: Arc::clone(&facts),
            peers: Arc::new(Peers::new(Arc::clone(&node.catalog), node.member.clone(), &trust)),
            hands: sql::Hands { deleter: node.deleter.clone(), ..sql::Hands::default() },
        });
        let engine = sql::EngineConfig {
            memory_bytes: (64 << 20).into(),
            footer_bytes: (1 << 20).into(),
            target_partitions: 1,
            options: Arc::<str>::default().into(),
            concurrent_queries_max: 1.into(),
            default_timeout: None.into(),
            runtime: Handle::current(),
            registry: registry.clone(),
            facts,
            operator: Some(Arc::clone(&operator)),
        };
        let views = node.views.clone().expect("it shows rows");
        let engine = sql::Engine::new(engine, views as _, node.bucket.reader());
        let readiness = Readiness::starting();
        readiness.serve();
        let parts = Parts {
            catalog: Arc::clone(&node.catalog),
            ingest: node.ingest.clone(),
            engine: Some(engine.expect("the engine starts")),
            operator,
            views: node.views.clone(),
            member: node.member.clone(),
            modes: Modes::ALL,
            cluster: NodeId::new("c").expect("a good name"),
            registry,
            readiness: Arc::new(readiness),
            datafusion: Handle::current(),
            trust,
            cluster_uuid: Uuid::nil(),
        };
        let router = router(parts, &config);
        Self { service: TowerToHyperService::new(router.clone()), router, node }
    }

    fn ask(&self, request: Request<Body>) -> impl Future<Output = Response> + use<> {
        let answer = self.service.call(request);
        async { answer.await.expect("a router always answers") }
    }

    async fn status(&self, method: &Method, path: &str, token: Option<&str>) -> u16 {
        self.ask(request(method, path, token, Body::empty())).await.status().as_u16()
    }

    async fn operator(&self) -> String {
        self.node
            .catalog
            .by(&Asked::default())
            .create_admin_token()
            .await
            .expect("there is none yet")
            .secret
            .reveal()
            .to_owned()
    }
}

fn request(method: &Method, path: &str, token: Option<&str>, body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(body).expect("a good request")
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body in memory");
    String::from_utf8_lossy(&bytes).into_owned()
}

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE];

#[tokio::test]
async fn no_route_answers_without_a_token_but_the_creation_of_the_first() {
    let api = Api::start(Vec::new()).await;
    let open = [token::OPERATOR_PATH, token::ENTERPRISE_OPERATOR_PATH];
    let routes = routes();
    assert!(routes.len() >= 28, "{} routes", routes.len());
    for Route { method, path, .. } in &routes {
        if open.contains(path) {
            continue;
        }
        for token in [None, Some("apiv3_nobody")] {
            assert_eq!(api.status(method, path, token).await, 401, "{method} {path} with {token:?}");
        }
        let malformed = request(method, path, None, Body::empty());
        let (mut parts, body) = malformed.into_parts();
        parts.headers.insert(header::AUTHORIZATION, "Bearer".parse().expect("a header"));
        assert_eq!(api.ask(Request::from_parts(parts, body)).await.status(), 400, "{method} {path}");
    }
    // The two doors are one: the first token can be made once.
    assert_eq!(api.status(&Method::POST, open[0], None).await, 201);
    assert_eq!(api.status(&Method::POST, open[1], None).await, 409);
}

/// A call of Flight with a ticket of JSON, and the code it is answered with.
async fn code_of_call(api: &Api, authorization: Option<&str>, ticket: &str) -> String {
    let ticket = ["\u{a}", &char::from(u8::try_from(ticket.len()).expect("short")).to_string(), ticket].concat();
    let frame = ["\0\0\0\0", &char::from(u8::try_from(ticket.len()).expect("short")).to_string(), &ticket].concat();
    let path = "/arrow.flight.protocol.FlightService/DoGet";
    let mut call = Request::post(path).header(header::CONTENT_TYPE, "application/grpc");
    if let Some(value) = authorization {
        call = call.header(header::AUTHORIZATION, value);
    }
    let answer = api.ask(call.body(Body::from(frame)).expect("a good request")).await;
    assert_eq!(answer.status(), 200, "the status of a call is told beside");
    let code = answer.headers().get("grpc-status").map(|code| code.to_str().expect("a number").to_owned());
    code.unwrap_or_else(|| "none yet".to_owned())
}

#[tokio::test]
async fn calls_of_flight_are_refused_with_codes_of_grpc() {
    let api = Api::start(Vec::new()).await;
    let operator = format!("Bearer {}", api.operator().await);
    api.node.catalog.by(&Asked::default()).create_database("d", None).await.expect("a good name");
    let ticket = r#"{"database":"d","sql_query":"SELECT 1"}"#;
    for wrong in [None, Some("Bearer"), Some("bearer x"), Some("Bearer apiv3_nobody")] {
        assert_eq!(code_of_call(&api, wrong, ticket).await, "16", "{wrong:?}");
    }
    let write = storage::catalog::PermissionText {
        resource_type: "db".into(),
        resource_names: vec!["*".into()],
        actions: vec!["write".into()],
    };
    let writer = api
        .node
        .catalog
        .by(&Asked::default())
        .create_resource_token("writer", &[write], None)
        .await
        .expect("a good permission");
    let writer = format!("Bearer {}", writer.secret.reveal());
    assert_eq!(code_of_call(&api, Some(&writer), ticket).await, "7");
    assert_eq!(code_of_call(&api, Some(&operator), r#"{"database":"e","sql_query":"SELECT 1"}"#).await, "5");
    assert_eq!(code_of_call(&api, Some(&operator), r#"{"database":"d","sql_query":"SELEKT"}"#).await, "3");
    assert_eq!(code_of_call(&api, Some(&operator), "no ticket").await, "3");
    assert_eq!(code_of_call(&api, Some(&operator), ticket).await, "none yet");
}

#[tokio::test]
async fn only_the_endpoints_that_were_named_are_open() {
    let all = [OpenEndpoint::Health, OpenEndpoint::Ping, OpenEndpoint::Metrics, OpenEndpoint::Ready];
    for opened in all {
        let api = Api::start(vec![opened]).await;
        for Route { method, path, needs, .. } in routes() {
            let Needs::System(endpoint) = needs else { continue };
            let status = api.status(&method, path, None).await;
            assert_eq!(status == 401, endpoint != opened, "{method} {path} with {opened:?} open: {status}");
        }
    }
}

#[tokio::test]
async fn administration_is_closed_to_a_token_that_may_only_write() {
    let api = Api::start(Vec::new()).await;
    api.operator().await;
    let all = storage::catalog::PermissionText {
        resource_type: "db".into(),
        resource_names: vec!["*".into()],
        actions: vec!["read".into(), "write".into()],
    };
    let writer = api
        .node
        .catalog
        .by(&Asked::default())
        .create_resource_token("writer", &[all], None)
        .await
        .expect("a good permission");
    let writer = writer.secret.reveal();
    for Route { method, path, needs, .. } in routes() {
        let status = api.status(&method, path, Some(writer)).await;
        match needs {
            Needs::Admin | Needs::System(_) => assert_eq!(status, 403, "{method} {path}"),
            Needs::Token | Needs::Nothing => assert_ne!(status, 403, "{method} {path}"),
        }
    }
}

/// Clients of the original look for 404 where others would say 405.
#[tokio::test]
async fn what_is_no_route_is_not_found_and_only_told_to_who_has_a_token() {
    let api = Api::start(Vec::new()).await;
    let operator = api.operator().await;
    let routes = routes();
    let listed = |method: &Method, path: &str| {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        routes.iter().any(|route| route.method == method && route.path == path)
    };
    let mut paths: Vec<&str> = routes.iter().map(|route| route.path).collect();
    paths.extend(["/", "/api/v3", "/api/v3/write_lp/", "/api/v3/nothing", "/health/../metrics", "//health"]);
    for path in paths {
        for method in METHODS.iter().filter(|method| !listed(method, path)) {
            assert_eq!(api.status(method, path, None).await, 401, "{method} {path}");
            let answer = api.ask(request(method, path, Some(&operator), Body::empty())).await;
            assert_eq!(answer.status(), 404, "{method} {path}");
            let said = text(answer).await;
            assert!(said == "Not found" || (said.is_empty() && method == Method::HEAD), "{method} {path}: {said}");
        }
        let preflight = api.ask(request(&Method::OPTIONS, path, None, Body::empty())).await;
        assert_eq!(preflight.status(), 204, "{path}");
    }
}

/// A body that tells when it is first asked for, and comes when it may.
fn waiting_body(text: &'static str) -> (Body, Arc<Notify>, Arc<Notify>) {
    let (asked, may_come) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&asked), Arc::clone(&may_come));
    let come = async move {
        tell.notify_one();
        wait.notified().await;
        Ok::<_, std::io::Error>(Bytes::from_static(text.as_bytes()))
    };
    (Body::from_stream(futures::stream::once(come)), asked, may_come)
}

#[tokio::test]
async fn a_token_that_is_deleted_while_the_body_comes_writes_nothing() {
    let api = Api::start(Vec::new()).await;
    api.operator().await;
    for deleted in [false, true] {
        let token = api
            .node
            .catalog
            .by(&Asked::default())
            .create_named_admin_token("short", None)
            .await
            .expect("the name is free");
        let (body, asked, may_come) = waiting_body("t v=1 1\n");
        let path = format!("/api/v3/write_lp?db=deleted_{deleted}");
        let answer = api.ask(request(&Method::POST, &path, Some(token.secret.reveal()), body));
        let meanwhile = async {
            asked.notified().await;
            if deleted {
                api.node.catalog.by(&Asked::default()).delete_token("short").await.expect("it is there");
            }
            may_come.notify_one();
        };
        let (answer, ()) = tokio::join!(answer, meanwhile);
        assert_eq!(answer.status().as_u16(), if deleted { 401 } else { 204 }, "{}", text(answer).await);
        let state = api.node.catalog.state();
        assert_eq!(state.database(&format!("deleted_{deleted}")).is_some(), !deleted);
        if !deleted {
            api.node.catalog.by(&Asked::default()).delete_token("short").await.expect("it is there");
        }
    }
}

/// Clients keep a connection and send a body after its head, so an answer may be ready before the body is there.
#[tokio::test]
async fn a_refused_request_leaves_its_connection_to_the_next() {
    let api = Api::start(vec![OpenEndpoint::Health]).await;
    let operator = format!("authorization: Bearer {}\r\n", api.operator().await);
    let server = Server::bind("127.0.0.1:0").await.expect("a free port");
    let address = server.address();
    let limits = ServerLimits { connections_max: 1, shutdown_timeout: Duration::ZERO };
    let stop = Notify::new();
    let client = async {
        for (target, headers, status) in [
            ("/api/v3/write_lp?db=a", "", 401),
            ("/api/v3/write_lp", &*operator, 400),
            ("/api/v3/nothing", &*operator, 404),
            ("/api/v3/configure/database", &*operator, 415),
        ] {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            let head = format!("POST {target} HTTP/1.1\r\nhost: x\r\n{headers}content-length: 7\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("the head is sent");
            tokio::time::sleep(Duration::from_millis(50)).await;
            let rest = b"t v=1 1GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            // When the connection is closed already, there is no second answer.
            let _ = stream.write_all(rest).await;
            let mut answers = Vec::new();
            let _ = stream.read_to_end(&mut answers).await;
            let answers = String::from_utf8_lossy(&answers);
            assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answers}");
            assert!(answers.contains("HTTP/1.1 200 OK") && answers.ends_with("OK"), "{target}: {answers}");
        }
        stop.notify_one();
    };
    tokio::join!(server.serve(api.router.clone(), limits, stop.notified()), client);
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_request_and_nothing_else() {
    let panics = || async {
        if Handle::try_current().is_ok() {
            panic!("on purpose");
        }
    };
    let router = Router::new()
        .route("/panics", routing::get(panics))
        .route("/fine", routing::get(|| async { "fine" }))
        .layer(middleware::from_fn(|request, next| gate::answer(next, request)));
    let service = TowerToHyperService::new(router);
    let ask = |path| {
        let answer = service.call(request(&Method::GET, path, None, Body::empty()));
        async { answer.await.expect("a router always answers") }
    };
    for _ in 0..3 {
        let answer = ask("/panics").await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(text(answer).await, "the handler of this request panicked");
        assert_eq!(text(ask("/fine").await.into_response()).await, "fine");
    }
}
