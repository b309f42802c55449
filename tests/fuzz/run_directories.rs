//! Files of a run directory.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::anyhow;
use lstmtext::events::{self, EventWriter, LOSS, SubRun};
use lstmtext::objective::AddedLosses;
use lstmtext::objective::metrics::Score;
use lstmtext::run::checkpoint;
use lstmtext::run::directory::RunDirectory;
use lstmtext::run::listing;
use lstmtext::run::new_run::NewRun;
use lstmtext::run::progress::{Best, Progress};
use lstmtext::run::records::ValidationRecord;
use lstmtext::run::report::RunReport;
use lstmtext::run::summary::RunSummary;

use crate::configurations::resolved;
use crate::fuzzer::fuzz;

/// Creates a run of three epochs. Returns its files that commands read without verifying them, with their
/// contents.
fn create_run(run: &RunDirectory) -> Vec<(Vec<u8>, PathBuf)> {
    NewRun::create(run.path(), &resolved("data: {train: x}\n").to_yaml()).unwrap().begin();
    let validation = Score::new(0.5, 0.75);
    for epoch in 1..=3 {
        let step = 10 * epoch as u64;
        let learning_rate = 0.1;
        let train = validation;
        run.append_record(
            &ValidationRecord {
                epoch,
                step,
                train,
                added: AddedLosses::default(),
                validation,
                learning_rate,
                branch_scales: None,
            },
            1.5,
        )
        .unwrap();
    }
    let mut summary: RunSummary = serde_json::from_str(
        "{\"parameters\": 7, \"best_epoch\": 2, \"seconds\": 9.5, \"tokens_per_second\": 100.0, \
         \"validation\": {\"loss\": 0.5, \"accuracy\": 0.75}, \"test\": null}",
    )
    .unwrap();
    summary.test = Some(validation);
    run.write_summary(&summary).unwrap();
    run.write_error(&anyhow!("disk full"));
    let progress = Progress {
        epoch: 3,
        step: 30,
        seconds: 4.5,
        best: Some(Best { epoch: 2, validation }),
        waited: 1,
        ..Progress::default()
    };
    fs::create_dir(run.last()).unwrap();
    fs::write(run.last().join("checkpoint.json"), "{}").unwrap();
    fs::write(run.last().join("progress.json"), serde_json::to_vec(&progress).unwrap()).unwrap();
    let now = SystemTime::UNIX_EPOCH;
    let mut events = EventWriter::create(&SubRun::Train.directory(run.path()), now).unwrap();
    (1..=3).for_each(|step| events.scalar(LOSS, 0.5, step, now).unwrap());
    events.sync().unwrap();
    let event_file = events::first_file(run.path()).unwrap();
    let names = ["metrics.jsonl", "times.jsonl", "summary.json", "error.txt", "last/progress.json"];
    let paths = names.into_iter().map(|name| run.path().join(name)).chain([event_file]);
    paths.map(|path| (fs::read(&path).unwrap(), path)).collect()
}

/// Mutates the files of a run directory, which commands read without verifying them.
#[test]
fn run_directories() {
    let directory = tempfile::tempdir().unwrap();
    let run = RunDirectory::open(&directory.path().join("run"));
    let files = create_run(&run);
    for (whole, path) in &files {
        let name = path.strip_prefix(run.path()).unwrap().display();
        fuzz(&format!("run directories, {name}"), std::slice::from_ref(whole), |bytes| {
            fs::write(path, bytes).unwrap();
            let _ = RunReport::read(run.path());
            assert_eq!(listing::find(directory.path()).unwrap(), [run.path()]);
            if let Ok(mut progress) = checkpoint::progress(&run.last()) {
                progress.advance(progress.batch + 1);
            }
            let _ = events::scalars(run.path(), SubRun::Train, [LOSS]);
            // Flushes to disk, which takes long.
            if bytes.len().is_multiple_of(32) {
                let records = run.records().unwrap();
                run.truncate_to_step(20, "data: {train: x}\n").unwrap();
                assert!(run.records().unwrap().len() <= records.len());
                files.iter().for_each(|(whole, path)| fs::write(path, whole).unwrap());
            }
            bytes == whole
        });
        fs::write(path, whole).unwrap();
    }
}
