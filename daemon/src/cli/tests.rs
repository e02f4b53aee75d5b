mod options;

use super::*;
use crate::config::{AuthConfig, OpenEndpoint, Store};
use std::time::Duration;
use storage::bucket::{Azure, Google, Remote, S3Keys, Secret, Service, Transport};

const NODE: [&str; 5] = ["weir", "serve", "--node-id=a", "--cluster-id=c", "--object-store=memory"];

fn node(flags: &[&str], environment: &[(&str, &str)]) -> Result<Box<Start>, clap::Error> {
    let args: Vec<_> = NODE.iter().chain(flags).map(|arg| OsString::from(*arg)).collect();
    start(args, environment)
}

fn start(args: Vec<OsString>, environment: &[(&str, &str)]) -> Result<Box<Start>, clap::Error> {
    let read = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    match parse(args, &read)? {
        Task::Serve(start) => Ok(start),
        Task::Ask(_) => panic!("a node was asked for"),
    }
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[test]
fn a_flag_beats_its_variable_and_a_variable_the_default() {
    let new = ("INFLUXDB3_WAL_FLUSH_INTERVAL", "50ms");
    check_flush(&[], &[], Duration::from_secs(1));
    check_flush(&[], &[new], Duration::from_millis(50));
    check_flush(&["--wal-flush-interval=10ms"], &[new], Duration::from_millis(10));
}

#[track_caller]
fn check_flush(flags: &[&str], environment: &[(&str, &str)], expected: Duration) {
    let start = node(flags, environment).expect("the flags are right");
    assert_eq!(start.config.wal.flush_interval, expected);
}

#[test]
fn switches_and_lists_can_be_variables() {
    let start = node(&[], &[("INFLUXDB3_WITHOUT_AUTH", "true")]).expect("the variable is right");
    assert_eq!(start.config.http.auth, AuthConfig::Off);
    let start = node(&[], &[("INFLUXDB3_START_WITHOUT_AUTH", "false"), ("INFLUXDB3_DISABLE_AUTHZ", "health,metrics")]);
    let start = start.expect("the variables are right");
    assert_eq!(start.config.http.auth, AuthConfig::On { open: vec![OpenEndpoint::Health, OpenEndpoint::Metrics] });
    assert_eq!(start.warnings.len(), 1, "{:?}", start.warnings);
    let start = node(&[], &[("INFLUXDB3_DATAFUSION_CONFIG", "a.b:1,c.d:x")]).expect("the variable is right");
    assert_eq!(start.config.query.options, [("a.b".into(), "1".into()), ("c.d".into(), "x".into())]);
}

#[test]
fn io_threads_are_accepted_before_and_after_the_command() {
    let before = words("weir --num-io-threads=3 serve --node-id a --cluster-id c --object-store memory");
    let after = words("weir serve --num-io-threads 3 --node-id a --cluster-id c --object-store memory");
    for args in [before, after] {
        assert_eq!(start(args, &[]).expect("the flags are right").config.threads.io, 3);
    }
    let misplaced = words("weir --node-id a serve --cluster-id c --object-store memory");
    let error = start(misplaced, &[]).expect_err("only --num-io-threads may stand before the command");
    assert!(error.to_string().contains("--node-id belongs after the command"), "{error}");
}

#[test]
fn wrong_command_lines_say_what_is_wrong_and_exit_with_2() {
    check_error(&["--wal-flush-intervall=1s"], &[], "--wal-flush-interval");
    check_error(&["--gen1-duration=2m"], &[], "must be 1m, 5m or 10m");
    check_error(&["--cluster-id=a"], &[], "cannot be used multiple times");
    check_error(&["--mode=ingest,process"], &[], "needs --plugin-dir");
    check_error(&["--mode=webui"], &[], "webui is not supported");
    check_error(&["--mode=rest"], &[], "rest");
    check_error(&["--tls-cert=/c"], &[], "--tls-cert needs --tls-key");
    check_error(&[], &[("INFLUXDB3_TLS_KEY", "/k")], "--tls-key needs --tls-cert");
    check_error(&["--tls-cert=/c", "--tls-key=/k", "--tls-minimum-version=tls-1.1"], &[], "tls-1.2, tls-1.3");
    check_error(&["--http-advertise-addr=here"], &[], "not a host and a port");
    check_error(&["--exec-mem-pool-size=512"], &[], "needs a unit");
    check_error(&["--num-cores=4096"], &[], "--num-cores is 4096");
    check_error(&["surplus"], &[], "surplus");
    check_error(&[], &[("INFLUXDB3_WAL_FLUSH_INTERVAL", "soon")], "INFLUXDB3_WAL_FLUSH_INTERVAL");
}

#[track_caller]
fn check_error(flags: &[&str], environment: &[(&str, &str)], expected: &str) {
    let error = node(flags, environment).expect_err("the command line is wrong");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn modes_are_a_list_and_may_be_said_again() {
    check_modes(&[], &[], "ingest,query,compact");
    check_modes(&["--mode=query"], &[], "query");
    check_modes(&["--mode", "compact,ingest", "--mode", "query"], &[], "ingest,query,compact");
    check_modes(&["--mode=all,query"], &[], "ingest,query,compact");
    check_modes(&[], &[("INFLUXDB3_MODE", "ingest,query")], "ingest,query");
    check_modes(&["--mode=ingest"], &[("INFLUXDB3_ENTERPRISE_MODE", "query")], "ingest");
}

#[track_caller]
fn check_modes(flags: &[&str], environment: &[(&str, &str)], expected: &str) {
    assert_eq!(node(flags, environment).expect("the flags are right").config.modes.to_string(), expected);
}

#[test]
fn what_a_node_was_started_with_is_told_without_its_secrets() {
    let flags = ["--mode=query,ingest", "--without-auth", "--aws-access-key-id=AKIA", "--bucket=b"];
    let secret = [("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"), ("INFLUXDB3_QUERY_TIMEOUT", "9s")];
    let options = node(&flags, &secret).expect("the flags are right").config.options;
    assert!(!options.contains("AKIA") && !options.contains("wJal"), "{options}");
    let told: std::collections::BTreeMap<String, String> = serde_json::from_str(&options).expect("texts by name");
    let expected = [
        ("aws-access-key-id", "***"),
        ("aws-secret-access-key", "***"),
        ("bucket", "b"),
        ("cluster-id", "c"),
        ("mode", "query,ingest"),
        ("node-id", "a"),
        ("object-store", "memory"),
        ("query-timeout", "9s"),
        ("without-auth", "true"),
    ];
    let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(told, expected);
}

#[test]
fn serve_without_identity_or_store_is_refused() {
    for (args, missing) in [
        ("weir serve --cluster-id c --object-store memory", "--node-id is missing"),
        ("weir serve --node-id a --object-store memory", "--cluster-id is missing"),
        ("weir serve --node-id a --cluster-id c", "--object-store is missing"),
        ("weir serve --node-id a --cluster-id c --object-store file", "needs --data-dir"),
        ("weir serve --node-id a --cluster-id c --object-store s3", "need --bucket"),
        ("weir serve --node-id a --cluster-id c --object-store google", "need --bucket"),
        ("weir serve --node-id a --cluster-id c --object-store azure --bucket b", "needs --azure-storage-account"),
        ("weir serve --node-id a --cluster-id a --object-store memory", "they must differ"),
        ("weir serve --node-id-from-env NAME --cluster-id a --object-store memory", "NAME, which is not set"),
    ] {
        let error = start(words(args), &[]).expect_err("something is missing");
        assert!(error.to_string().contains(missing), "{error}");
    }
}

#[test]
fn a_quick_start_makes_up_identity_and_store() {
    let quick = start(words("weir"), &[]).expect("nothing is needed");
    assert!(matches!(&quick.config.store, Store::File { root } if root.ends_with(".weir")));
    assert_eq!(quick.warnings.len(), 2, "{:?}", quick.warnings);
    assert!(quick.greeting.is_some());
    let named = start(words("weir --node-id n --cluster-id c --object-store memory"), &[]).expect("these are right");
    assert_eq!((named.config.identity.node.as_str(), &named.config.store), ("n", &Store::Memory));
}

#[test]
fn the_node_id_may_come_from_any_variable() {
    let args = words("weir serve --node-id-from-env POD --cluster-id c --object-store memory");
    let start = start(args, &[("POD", "p-7")]).expect("the variable is set");
    assert_eq!(start.config.identity.node.as_str(), "p-7");
}

#[test]
fn old_memory_flags_take_percentages_and_megabytes() {
    let start =
        node(&["--exec-mem-pool-bytes=512", "--force-snapshot-mem-threshold", "8GB"], &[]).expect("both are right");
    assert_eq!((start.config.query.memory_bytes, start.config.snapshot.memory_bytes_max), (512 << 20, 8 << 30));
    assert_eq!(start.warnings.len(), 2, "{:?}", start.warnings);
}

#[test]
fn help_all_shows_what_help_hides() {
    let help =
        |flag: &str| start(words(&format!("weir serve {flag}")), &[]).expect_err("help is not a node").to_string();
    assert!(!help("--help").contains("--gen1-duration"));
    assert!(help("--help-all").contains("--gen1-duration"));
    assert!(help("--help").contains("[env: INFLUXDB3_NODE_ID]"));
}

const S3: &str = "weir serve --node-id a --cluster-id c --object-store s3 --bucket b";

#[track_caller]
fn remote(args: &str, environment: &[(&str, &str)]) -> Box<Remote> {
    match start(words(args), environment).expect("the flags are right").config.store {
        Store::Remote(remote) => remote,
        other => panic!("{args}: {other:?}"),
    }
}

#[test]
fn a_store_behind_a_network_may_be_shared_by_many_machines() {
    let is_for_many = |args: &str| Store::Remote(remote(args, &[])).is_for_many_machines();
    assert!(is_for_many(S3));
    assert!(is_for_many(&format!("{S3} --aws-allow-http --aws-endpoint http://10.0.0.9:9000")));
    let own = format!("{S3} --aws-allow-http --aws-endpoint http://127.0.0.1:9000");
    assert!(!is_for_many(&own), "whoever else sees it is on this machine");
    assert!(!node(&[], &[]).expect("the flags are right").config.store.is_for_many_machines());
}

#[test]
fn an_s3_store_is_said_in_flags_or_variables() {
    let environment = [
        ("INFLUXDB3_OBJECT_STORE", "s3"),
        ("INFLUXDB3_BUCKET", "b"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_ENDPOINT", "http://127.0.0.1:9000"),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let flags = "--aws-access-key-id id --aws-secret-access-key secret --aws-session-token token \
                 --aws-default-region eu-west-1 --aws-endpoint http://127.0.0.1:9000 --aws-allow-http \
                 --aws-s3-custom-backend ceph";
    let said = remote(&format!("{S3} {flags}"), &[]);
    assert_eq!(said, remote("weir serve --node-id a --cluster-id c", &environment));
    let session_token = Some(Secret::new("token"));
    let keys = S3Keys::Given { id: Secret::new("id"), secret: Secret::new("secret"), session_token };
    let endpoint = Some("http://127.0.0.1:9000".to_owned());
    assert_eq!(said.service, Service::S3(storage::bucket::S3 { keys, region: "eu-west-1".to_owned(), endpoint }));
    assert!(said.transport.allow_http);
}

#[test]
fn keys_of_s3_come_from_a_file_before_flags_and_from_the_machine_last() {
    let keys = |flags: &str, environment: &[(&str, &str)]| match remote(&format!("{S3}{flags}"), environment).service {
        Service::S3(s3) => s3.keys,
        other => panic!("{other:?}"),
    };
    let given = " --aws-access-key-id id --aws-secret-access-key secret";
    assert_eq!(keys(&format!("{given} --aws-credentials-file /k"), &[]), S3Keys::File("/k".into()));
    assert_eq!(keys(&format!("{given} --aws-skip-signature"), &[]), S3Keys::None);
    assert_eq!(keys("", &[]), S3Keys::Ambient);
    let ambient = remote(S3, &[("AWS_ROLE_ARN", "arn:x")]).ambient;
    assert_eq!(ambient, [("AWS_ROLE_ARN".to_owned(), Secret::new("arn:x"))]);
}

#[test]
fn the_way_to_a_store_has_new_names_and_old_ones() {
    let flags = "--object-store-connection-limit 5 --object-store-http2-only --object-store-http2-max-frame-size 16384 \
                 --object-store-request-timeout 7s --object-store-max-retries 3 --object-store-retry-timeout 9s \
                 --object-store-tls-allow-insecure --object-store-tls-ca /ca.pem";
    let names = [
        ("CONNECTION_LIMIT", "5"),
        ("HTTP2_ONLY", "true"),
        ("HTTP2_MAX_FRAME_SIZE", "16384"),
        ("REQUEST_TIMEOUT", "7s"),
        ("MAX_RETRIES", "3"),
        ("RETRY_TIMEOUT", "9s"),
        ("TLS_ALLOW_INSECURE", "true"),
        ("TLS_CA", "/ca.pem"),
    ];
    let transport = Transport {
        connections_max: 5,
        http2_only: true,
        http2_frame_bytes_max: Some(16_384),
        request_timeout: Duration::from_secs(7),
        retries_max: 3,
        retry_timeout: Duration::from_secs(9),
        allow_http: false,
        allow_any_certificate: true,
        certificates: Some("/ca.pem".into()),
    };
    assert_eq!(remote(&format!("{S3} {flags}"), &[]).transport, transport);
    for prefix in ["INFLUXDB3_OBJECT_STORE_", "OBJECT_STORE_"] {
        let environment: Vec<_> = names.iter().map(|(name, value)| (format!("{prefix}{name}"), *value)).collect();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(remote(S3, &environment).transport, transport, "{prefix}");
    }
    let default = remote(S3, &[]).transport;
    assert_eq!((default.connections_max, default.request_timeout), (16, Duration::from_secs(30)));
    check_error(&["--object-store-cache-endpoint=x"], &[], "--object-store-cache-endpoint");
}

#[test]
fn azure_and_google_are_said_in_flags_or_variables() {
    let azure = "weir serve --node-id a --cluster-id c --object-store azure --bucket b --azure-storage-account n \
                 --azure-storage-access-key k --azure-endpoint http://h --azure-allow-http";
    let environment = [
        ("INFLUXDB3_OBJECT_STORE", "azure"),
        ("INFLUXDB3_BUCKET", "b"),
        ("AZURE_STORAGE_ACCOUNT", "n"),
        ("AZURE_STORAGE_ACCESS_KEY", "k"),
        ("AZURE_ENDPOINT", "http://h"),
        ("AZURE_ALLOW_HTTP", "true"),
    ];
    let said = remote(azure, &[]);
    assert_eq!(said, remote("weir serve --node-id a --cluster-id c", &environment));
    assert_eq!(said, remote(&azure.replace("-http", "-http=true"), &[]));
    let service = Azure { account: "n".into(), access_key: Some(Secret::new("k")), endpoint: Some("http://h".into()) };
    assert_eq!(said.service, Service::Azure(service));
    let google = "weir serve --node-id a --cluster-id c --object-store google --bucket b";
    let service_account = Some("/a.json".into());
    let said = remote(google, &[("GOOGLE_SERVICE_ACCOUNT", "/a.json")]);
    assert_eq!(said.service, Service::Google(Google { service_account }));
    let throttled = words("weir serve --node-id a --cluster-id c --object-store memory-throttled");
    assert_eq!(start(throttled, &[]).expect("it is a store").config.store, Store::ThrottledMemory);
}

#[test]
fn half_a_key_and_an_open_endpoint_are_refused() {
    for (flags, message) in [
        ("--aws-access-key-id id", "--aws-access-key-id needs --aws-secret-access-key"),
        ("--aws-secret-access-key s", "--aws-secret-access-key needs --aws-access-key-id"),
        ("--aws-endpoint http://h", "--aws-endpoint http://h is without TLS, which needs --aws-allow-http"),
        ("--aws-endpoint h:9000", "must begin with https:// or http://"),
        ("--aws-s3-custom-backend minio", "ceph"),
        ("--object-store-connection-limit 0", "--object-store-connection-limit"),
    ] {
        let error = start(words(&format!("{S3} {flags}")), &[]).expect_err("the flags are wrong");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn secrets_are_in_no_help_no_error_and_no_debug_output() {
    let secret = "wJalrXUtnFEMI-K7MDENG";
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCESS_KEY"];
    let environment = names.map(|name| (name, secret));
    for wrong in ["serve --help", "serve --help-all", "serve --node-idd x", "serve --wal-flush-interval soon"] {
        let told = start(words(&format!("weir {wrong}")), &environment).expect_err("it is no node").to_string();
        assert!(!told.contains(secret), "{told}");
    }
    let started = start(words(S3), &environment).expect("the flags are right");
    assert!(!format!("{started:?}").contains(secret), "{started:?}");
}
