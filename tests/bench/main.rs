//! The load of the public TSBS benchmark (cpu-only): what a node costs while it takes it, keeps it and answers from it.
//!
//! `cargo run --release -p tests --bin tsbs -- --hosts 400 --hours 24 --workers 1,2,4`
//!
//! CPU is that of the server process alone, from `/proc`, until it has been quiet for a while: background work that a
//! load leaves behind is part of its price.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time and uses real threads")]
#![allow(clippy::print_stdout, reason = "its tables are what it is for")]

mod options;
mod times;
mod load;
mod sink;
mod queries;
mod doors;
mod restart;
mod freshness;

use harness::node::Node;
use options::Options;

fn main() {
    let options = Options::from_arguments(std::env::args().skip(1)).unwrap_or_else(|reason| {
        eprintln!("{reason}\n\n{}", options::HELP);
        std::process::exit(2)
    });
    println!(
        "{} hosts, {} hours: {} rows, seed {}\n",
        options.scale.hosts,
        options.scale.hours,
        options.scale.rows(),
        options.scale.seed
    );
    if options.baseline.is_some() {
        println!("null server (what the client costs)\n{}", load::HEADER);
        for workers in &options.workers {
            println!("{}", sink::load(&options, *workers));
        }
        println!();
    }
    println!("load\n{}", load::HEADER);
    let mut loaded: Option<Node> = None;
    for workers in &options.workers {
        // Each load starts on an empty store; the last one stays for the queries.
        let mut node = options.start();
        println!("{}", load::into_node(&mut node, &options, *workers));
        loaded = Some(node);
    }
    let mut node = loaded.expect("there is at least one number of workers");
    println!("\nlone small writes\n{}", load::lone_writes(&node, options.lone_writes));
    println!("\nrestart\n{}", restart::with_unsnapshotted_writes(&mut node, &options));
    if options.freshness > 0 {
        println!("\nfreshness\n{}", freshness::HEADER);
        print!("{}", freshness::between_two_nodes(options.freshness));
    }
    if options.asked > 0 {
        println!("\ndoors\n{}", doors::HEADER);
        print!("{}", doors::compared(&node, &options));
    }
    println!("\nqueries\n{}", queries::HEADER);
    for query in harness::tsbs::QUERIES {
        println!("{}", queries::run(&node, query, &options));
    }
}
