//! The download, watched for silence.

use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};

use super::{HubDataset, HubFiles, HubSettings, choose};
use crate::error::DataError;

/// How often a file is asked for, and the pause before it is asked for again, longer each time.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// Whether asking again may help: the server's own trouble, or a connection that was lost.
fn is_passing(error: &ApiError) -> bool {
    let text = error.to_string();
    !["401", "403", "404"]
        .iter()
        .any(|status| text.contains(status))
}

/// What the transferring thread reports.
enum Event {
    /// Something has arrived.
    Alive,
    /// It is over.
    Done(Result<HubFiles, DataError>),
}

pub(super) fn download(set: &HubDataset, settings: &HubSettings) -> Result<HubFiles, DataError> {
    let (sender, events) = mpsc::channel();
    let worker = (set.clone(), settings.clone());
    // Never joined: a thread that waits for a silent server ends with the process.
    thread::spawn(move || {
        let (set, settings) = worker;
        let done = transfer(&set, &settings, &sender);
        // The receiver may have given up; then nobody wants to know.
        let _ = sender.send(Event::Done(done));
    });
    loop {
        match events.recv_timeout(settings.patience) {
            Ok(Event::Alive) => {}
            Ok(Event::Done(done)) => return done,
            Err(RecvTimeoutError::Timeout) => {
                return Err(set.error(format!(
                    "no answer from {} for {} s; check the network or HF_ENDPOINT, or give a local file",
                    settings.endpoint,
                    settings.patience.as_secs_f32()
                )));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(set.error("the download broke off; try again or give a local file"));
            }
        }
    }
}

fn transfer(
    set: &HubDataset,
    settings: &HubSettings,
    events: &Sender<Event>,
) -> Result<HubFiles, DataError> {
    let fault = |error: &ApiError| set.error(explain(error, &settings.endpoint));
    let api = ApiBuilder::from_cache(Cache::new(settings.cache.clone()))
        .with_endpoint(settings.endpoint.trim_end_matches('/').to_owned())
        .with_token(settings.token.clone())
        .with_progress(false)
        .build()
        .map_err(|e| fault(&e))?;
    let repo = api.repo(set.repo());
    let info = repo.info().map_err(|e| fault(&e))?;
    let _ = events.send(Event::Alive);
    let names: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
    let files = choose::data_files(set, &names)?;
    let mut paths: Vec<PathBuf> = Vec::with_capacity(files.len());
    for file in &files {
        let pulse = || Pulse(events.clone());
        // What broke off once may work the next time; what has arrived by then is kept.
        let fetched = (0..ATTEMPTS).find_map(|attempt| {
            thread::sleep(PAUSE * attempt);
            match repo.download_with_progress(file, pulse()) {
                Err(error) if attempt + 1 < ATTEMPTS && is_passing(&error) => None,
                done => Some(done),
            }
        });
        paths.extend(fetched.transpose().map_err(|e| fault(&e))?);
    }
    Ok(HubFiles {
        paths,
        files,
        commit: info.sha,
    })
}

/// Tells the waiting side that bytes arrive.
struct Pulse(Sender<Event>);

impl Progress for Pulse {
    fn init(&mut self, _size: usize, _filename: &str) {
        let _ = self.0.send(Event::Alive);
    }
    fn update(&mut self, _size: usize) {
        let _ = self.0.send(Event::Alive);
    }
    fn finish(&mut self) {
        let _ = self.0.send(Event::Alive);
    }
}

/// The hub's answer in words, with what to do about it.
fn explain(error: &ApiError, endpoint: &str) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let advice = if text.contains("401") || text.contains("403") {
        "it does not exist or needs access: check the name, or set HF_TOKEN"
    } else if text.contains("404") {
        "no such data set, revision or file: check the name"
    } else {
        "check the network or HF_ENDPOINT, or give a local file"
    };
    format!("could not be fetched from {endpoint}: {text}; {advice}")
}
