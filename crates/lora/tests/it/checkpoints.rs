//! Checkpoint folders: whole or absent, refused when changed, few of them kept.

use crate::support::{adapter, model, plain, three_rows};
use candle_core::DType;
use lora::{
    Checkpoint, CheckpointError, CheckpointFolder, OPTIMIZER_FILE, STATE_FILE, Settings, Snapshot,
    TrainConfig, TrainEvent, Trainable, WEIGHTS_FILE, fingerprint, train,
};
use serde_json::json;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// The snapshots after each of three steps.
fn snapshots() -> Vec<Snapshot> {
    let mut model = model(DType::F32);
    let trainable = Trainable::attach(&adapter(&model, true), &mut model).unwrap();
    let config = TrainConfig {
        max_steps: Some(3),
        save_steps: Some(1),
        ..plain()
    };
    let mut all = Vec::new();
    let mut hear = |event| {
        if let TrainEvent::Checkpoint(snapshot) = event {
            all.push(*snapshot);
        }
        ControlFlow::Continue(())
    };
    train(&model, &trainable, &three_rows(), &[], &config, &mut hear).unwrap();
    all
}

fn settings() -> Settings {
    Settings::from([
        ("lr".into(), json!(2e-4)),
        ("seed".into(), json!(42)),
        ("max_steps".into(), json!(null)),
    ])
}

fn saved() -> (tempfile::TempDir, CheckpointFolder, Vec<Snapshot>) {
    let dir = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::new(dir.path().join("run"));
    let snapshots = snapshots();
    for snapshot in &snapshots {
        folder.save(snapshot, &settings()).unwrap();
    }
    (dir, folder, snapshots)
}

fn bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|p| {
            (
                p.file_name().unwrap().display().to_string(),
                fs::read(&p).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_round_trip_keeps_every_bit_and_writes_the_same_bytes() {
    let (_dir, folder, snapshots) = saved();
    assert_eq!(folder.steps().unwrap(), [1, 2, 3]);
    let (newest, passed) = folder.newest().unwrap();
    let newest = newest.unwrap();
    assert!(passed.is_empty());
    let last = &snapshots[2];
    assert_eq!(&newest.progress, last.state.progress());
    assert_eq!(&newest.moments, last.state.moments());
    assert_eq!(newest.progress.steps, 3);
    assert_eq!(newest.settings, settings());
    for (name, tensor) in last.adapter.tensors() {
        let again = newest.adapter.tensors()[&name].clone();
        assert_eq!(
            crate::support::values(tensor),
            crate::support::values(&again)
        );
    }
    let before = bytes(&newest.path);
    assert_eq!(before.len(), 4, "two files of PEFT's, moments and state");
    folder.save(last, &settings()).unwrap();
    assert_eq!(bytes(&newest.path), before);
    let hidden = fs::read_dir(folder.path(1).parent().unwrap()).unwrap();
    assert_eq!(hidden.count(), 3, "nothing is left beside them");
}

#[test]
fn the_setting_that_differs_is_named_with_both_values() {
    let (_dir, folder, _) = saved();
    let saved = Checkpoint::load(folder.path(2)).unwrap();
    saved.check(&settings()).unwrap();
    for (name, value, words) in [
        ("lr", json!(1e-4), ["`lr`", "0.0002", "0.0001"]),
        ("max_steps", json!(9), ["`max_steps`", "null", "9"]),
        ("new", json!(1), ["`new`", "not set", "1"]),
    ] {
        let mut other = settings();
        other.insert(name.into(), value);
        let error = saved.check(&other).unwrap_err();
        assert!(matches!(&error, CheckpointError::Settings { fields, .. } if fields == &[name]));
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn damaged_ones_are_passed_over_and_named() {
    for name in [STATE_FILE, OPTIMIZER_FILE, WEIGHTS_FILE, lora::CONFIG_FILE] {
        for how in ["gone", "cut", "changed"] {
            let (_dir, folder, _) = saved();
            let path = folder.path(3).join(name);
            let mut contents = fs::read(&path).unwrap();
            match how {
                "gone" => fs::remove_file(&path).unwrap(),
                "cut" => fs::write(&path, &contents[..contents.len() - 9]).unwrap(),
                _ => {
                    let middle = contents.len() / 2;
                    contents[middle] ^= 1;
                    fs::write(&path, &contents).unwrap();
                }
            }
            let (newest, passed) = folder.newest().unwrap();
            let at = newest.unwrap().progress.steps;
            if passed.is_empty() {
                // A digit of a number that only informs may have changed.
                assert_eq!((name, how, at), (STATE_FILE, "changed", 3));
                continue;
            }
            assert_eq!(at, 2, "{name} {how}");
            let text = passed[0].to_string();
            assert!(
                text.contains("checkpoint-3") && text.contains(name),
                "{text}"
            );
        }
    }
}

#[test]
fn what_a_killed_process_left_is_not_taken_for_a_checkpoint_and_is_swept() {
    let (_dir, folder, snapshots) = saved();
    let root = folder.path(1).parent().unwrap().to_owned();
    for name in [".checkpoint-9.partial", ".checkpoint-2.old"] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join(STATE_FILE), "{").unwrap();
    }
    fs::create_dir(root.join("checkpoint-best")).unwrap();
    assert_eq!(folder.steps().unwrap(), [1, 2, 3]);
    folder.save(&snapshots[0], &settings()).unwrap();
    assert!(
        !root.join(".checkpoint-9.partial").exists() && !root.join(".checkpoint-2.old").exists()
    );
    assert!(root.join("checkpoint-best").exists(), "not ours");
}

#[test]
fn rotation_keeps_the_newest_and_the_best() {
    for (limit, best, left) in [
        (5, None, &[1, 2, 3][..]),
        (2, None, &[2, 3]),
        (1, None, &[3]),
        (0, None, &[3]),
        (1, Some(1), &[1, 3]),
        (2, Some(1), &[1, 3]),
    ] {
        let (_dir, folder, _) = saved();
        folder.rotate(limit, best).unwrap();
        assert_eq!(
            folder.steps().unwrap(),
            left,
            "limit {limit}, best {best:?}"
        );
    }
    let (_dir, folder, _) = saved();
    folder.remove_after(1).unwrap();
    assert_eq!(folder.steps().unwrap(), [1]);
}

#[test]
fn a_folder_that_is_not_there_has_no_checkpoints() {
    let folder = CheckpointFolder::new("nowhere/at/all");
    let (newest, passed) = folder.newest().unwrap();
    assert!(newest.is_none() && passed.is_empty());
    let error = Checkpoint::load("nowhere/at/all").unwrap_err().to_string();
    assert!(error.contains("nowhere/at/all"), "{error}");
}

#[test]
fn a_fingerprint_follows_ids_labels_and_borders() {
    let rows = three_rows();
    let same = fingerprint(&rows);
    assert_eq!((same.len(), fingerprint(&rows.clone())), (64, same.clone()));
    let mut others = [rows.clone(), rows.clone(), rows.clone()];
    others[0][0].ids[3] += 1;
    others[1][0].labels.pop();
    others[2].swap(0, 1);
    assert!(others.iter().all(|other| fingerprint(other) != same));
}
