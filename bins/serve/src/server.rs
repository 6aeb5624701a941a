//! A server from its first connection to its last.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use smollm_model::ModelError;
use stage::{OrExit, StageError};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::app::{App, Phase, Settings};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::patient::Patient;
use crate::routes;
use crate::worker::Worker;

/// How long connections get to bring out what is written already when the server ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Pause when the system gives no more connections (most often: no more file descriptors).
const NO_MORE: Duration = Duration::from_millis(100);

/// A server that runs, in threads of its own.
pub struct Server {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    runtime: Runtime,
    connections: JoinHandle<()>,
    engine: thread::JoinHandle<Result<(), ModelError>>,
}

impl Server {
    /// Starts to answer at `listener`. `work` gets a thread of its own, in which it is to run the [`Worker`] with a
    /// decoder of `models`.
    ///
    /// # Errors
    /// Exit code 1 if the system gives no threads or does not let the listener be used.
    pub fn start<F>(
        listener: std::net::TcpListener,
        models: Models,
        settings: Settings,
        work: F,
    ) -> Result<Self, StageError>
    where
        F: FnOnce(Worker) -> Result<(), ModelError> + Send + 'static,
    {
        let address = listener.local_addr().or_failed()?;
        listener.set_nonblocking(true).or_failed()?;
        let runtime = runtime().or_failed()?;
        let (phase, phases) = watch::channel(Phase::Open);
        let (jobs, queue) = std_mpsc::channel();
        let (alive, gone) = oneshot::channel();
        let metrics = Arc::new(Metrics::default());
        let worker = Worker {
            jobs: queue,
            limits: settings.engine,
            metrics: metrics.clone(),
            _alive: alive,
        };
        let engine = thread::Builder::new()
            .name("serve-engine".to_owned())
            .spawn(move || work(worker))
            .or_failed()?;
        let app = Arc::new(App {
            room: Arc::new(Semaphore::new(settings.capacity())),
            models,
            settings,
            metrics,
            jobs,
            phase: phases,
            started: routes::now(),
        });
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).or_failed()?
        };
        let connections = runtime.spawn(supervise(listener, app, phase.clone(), gone));
        Ok(Self {
            address,
            phase,
            runtime,
            connections,
            engine,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it to end: new requests are refused, those that run are finished, for as long as the settings allow.
    pub fn stop(&self) {
        advance(&self.phase, Phase::Draining);
    }

    /// Lets SIGINT and SIGTERM ask it to end; the second ends the process at once.
    pub fn stop_on_signals(&self) {
        let phase = self.phase.clone();
        self.runtime.spawn(async move {
            signal().await;
            say("finishing running requests, refusing new ones; Ctrl-C again ends at once");
            advance(&phase, Phase::Draining);
            signal().await;
            std::process::exit(i32::from(stage::Exit::Interrupted.code()));
        });
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// Exit code 1 if the engine broke.
    pub fn wait(self) -> Result<(), StageError> {
        let ended = self.runtime.block_on(self.connections);
        // With the connections, the last senders of jobs are gone, and the engine ends.
        self.runtime.shutdown_timeout(LAST_WORDS);
        match self.engine.join() {
            Ok(outcome) => outcome.or_failed()?,
            Err(_) => return Err(StageError::failed("the engine's thread broke down")),
        }
        ended.or_failed()
    }
}

/// Two threads for connections and two to encode prompts; the cores are for the engine.
fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .thread_name("serve-http")
        .enable_all()
        .build()
}

/// There is no way back.
fn advance(phase: &watch::Sender<Phase>, to: Phase) {
    phase.send_if_modified(|now| {
        let forward = *now < to;
        if forward {
            *now = to;
        }
        forward
    });
}

async fn supervise(
    listener: TcpListener,
    app: Arc<App>,
    phase: watch::Sender<Phase>,
    engine_gone: oneshot::Receiver<()>,
) {
    let graceful = GracefulShutdown::new();
    let router = routes::router(app.clone());
    tokio::select! {
        () = accept(&listener, &router, &app, &graceful) => {}
        () = drained(&app) => {}
        _ = engine_gone => {}
    }
    advance(&phase, Phase::Cut);
    // Those that do not end in time are dropped with the runtime.
    let _ = timeout(LAST_WORDS, graceful.shutdown()).await;
}

/// Returns when the server was asked to end and nothing runs any more, or it has waited long enough.
async fn drained(app: &App) {
    let mut phase = app.phase.clone();
    if phase.wait_for(|phase| *phase != Phase::Open).await.is_err() {
        return;
    }
    let everything = u32::try_from(app.settings.capacity()).unwrap_or(u32::MAX);
    tokio::select! {
        _ = app.room.acquire_many(everything) => {}
        () = sleep(app.settings.drain) => {}
        _ = phase.wait_for(|phase| *phase == Phase::Cut) => {}
    }
}

async fn accept(
    listener: &TcpListener,
    router: &Router,
    app: &Arc<App>,
    graceful: &GracefulShutdown,
) {
    let slots = Arc::new(Semaphore::new(app.settings.max_connections));
    let patience = app.settings.patience;
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(NO_MORE).await;
            continue;
        };
        // Tokens are small and must not wait for each other. Without this it is only slower.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .serve_connection(
                TokioIo::new(Patient::new(stream, patience)),
                TowerToHyperService::new(router.clone()),
            );
        let connection = graceful.watch(connection);
        let metrics = app.metrics.clone();
        tokio::spawn(async move {
            metrics.connections.fetch_add(1, Relaxed);
            // What goes wrong on a connection is the client's to know.
            let _ = connection.await;
            metrics.connections.fetch_sub(1, Relaxed);
            drop(slot);
        });
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    let _ = tokio::signal::ctrl_c().await;
}

/// One line for people; a closed standard error is no reason to stop.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
