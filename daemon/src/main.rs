//! The program: reads the command line, builds the two thread pools of a node, and hands over.

mod config;
mod tls;
mod internode;
mod api;
mod modes;
mod node;
mod cli;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let task = cli::parse(std::env::args_os(), &|name| std::env::var(name).ok()).unwrap_or_else(|error| error.exit());
    let result = match task {
        cli::Task::Serve(start) => serve(*start),
        cli::Task::Ask(command) => cli::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            cli::complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn serve(start: cli::Start) -> Result<(), String> {
    let (config, turn_log) = cli::announce(start)?;
    let io = threads("io_worker", config.threads.io, IO_STACK_BYTES)?;
    let datafusion = threads("datafusion", config.threads.datafusion, DATAFUSION_STACK_BYTES)?;
    let result = io.block_on(node::run((config, turn_log), datafusion.handle().clone()));
    // What counts is stored by now. Dropping a pool would wait for the last blocking call, however long that takes.
    io.shutdown_background();
    datafusion.shutdown_background();
    result.map_err(|error| error.to_string())
}

/// What the library gives by default.
const IO_STACK_BYTES: usize = 2 << 20;
/// Expressions are trees that are planned, compared and dropped by recursion. How deep they may be is limited in `sql`,
/// and this is room for that depth; memory that is never touched is never taken.
const DATAFUSION_STACK_BYTES: usize = 64 << 20;

/// Operators look for these names among the threads of the process.
fn threads(name: &'static str, count: usize, stack_bytes: usize) -> Result<Runtime, String> {
    let started = AtomicUsize::new(0);
    let thread_name = move || format!("{name}_{}", started.fetch_add(1, Ordering::Relaxed));
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(count).thread_name_fn(thread_name).thread_stack_size(stack_bytes).enable_all();
    builder.build().map_err(|error| format!("start {count} {name} threads: {error}"))
}
