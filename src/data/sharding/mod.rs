//! Data that is divided among processes: each tokenizes a part of the rows, and all of them know the labels, lengths
//! and hashes of all rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use indexmap::IndexSet;

use crate::config::{Config, DataConfig, Format};
use crate::data::cache::read_part;
use crate::data::formats::{
    Labels, NO_GROUP, Part, Rows, RowsFile, RowsHeader, Unit, expand_pattern,
};
use crate::data::source::Source;
use crate::data::targets::{LabelSets, Target, Targets};
use crate::distributed::{Collective, Shards};

/// Processes that divide data among them; `None` if each reads all of it.
pub type Sharing<'a> = Option<&'a Arc<dyn Collective>>;

/// Returns the result of work that each process does alone, or the error of any of them, if they share the data:
/// none may go on without the others.
///
/// # Errors
/// Returns the error of the first process that has one.
pub fn agree<T>(sharing: Sharing, result: anyhow::Result<T>) -> anyhow::Result<T> {
    match sharing {
        Some(collective) => collective.agree(result),
        None => result,
    }
}

/// Reads and tokenizes a file or directory like [`read_part`]. With other processes, each tokenizes a part, and its
/// source has the rows of all of them.
///
/// # Errors
/// Returns the errors of [`read_part`], or an error if a process is lost.
pub fn read_source(
    path: &Path,
    config: &Config,
    labels: Labels,
    sharing: Sharing,
) -> anyhow::Result<Source> {
    let config = &*config.without_teacher();
    let Some(collective) = sharing else { return read_part(path, config, labels, &Part::Whole) };
    let part = own_part(path, &config.data, &**collective)?;
    let own = collective.agree(read_part(path, config, labels, &part))?;
    assemble(own, &part, &config.data, labels.are_required(), collective)
}

/// Largest part of the bytes that a process may read, as a multiple of an equal part. If the files differ more, all
/// processes read all of them.
const MAX_SHARE: f64 = 1.5;

/// Chooses the part of a file, or of the files that match a pattern, that this process tokenizes: some of the files
/// if there are enough of about the same size, otherwise every N-th row.
///
/// # Errors
/// Returns an error if there are no such files, if another process has other files, or if a process is lost.
fn own_part(path: &Path, config: &DataConfig, collective: &dyn Collective) -> anyhow::Result<Part> {
    let worker = collective.worker();
    let files = collective.agree(expand_pattern(path, config.format))?;
    let are_files = config.format != Format::Folder && files.iter().all(|file| file.is_file());
    let size = |file: &PathBuf| fs::metadata(file).map_or(0, |metadata| metadata.len());
    let sizes: Vec<u64> = if are_files { files.iter().map(size).collect() } else { Vec::new() };
    let all = collective.gather_arrays(&sizes)?;
    ensure!(
        all.iter().all(|sizes| *sizes == all[0]),
        "the files at \"{}\" differ between the processes in number or size; copy them to all machines, or put them \
         on a shared file system",
        path.display()
    );
    let Some(ends) = divide(&sizes, worker.world_size) else { return Ok(Part::EveryNth(worker)) };
    let start = worker.rank.checked_sub(1).map_or(0, |before| ends[before]);
    Ok(Part::Files { own: start..ends[worker.rank], all: files })
}

/// Divides files of these sizes into runs of consecutive ones, of about the same size. Returns their ends; `None` if
/// there are too few files, or if one is too large.
fn divide(sizes: &[u64], parts: usize) -> Option<Vec<usize>> {
    let total: u64 = sizes.iter().sum();
    let target = total as f64 / parts as f64;
    let (mut ends, mut sum) = (Vec::with_capacity(parts), 0);
    let mut before = 0;
    for (index, size) in sizes.iter().enumerate() {
        // A file belongs to the part in which its middle is.
        let part = ((sum as f64 + *size as f64 / 2.0) / target.max(1.0)) as usize;
        ends.resize(part.min(parts - 1).max(ends.len()), index);
        sum += size;
    }
    ends.resize(parts, sizes.len());
    for end in &ends {
        let bytes: u64 = sizes[before..*end].iter().sum();
        if before == *end || bytes as f64 > MAX_SHARE * target {
            return None;
        }
        before = *end;
    }
    Some(ends)
}

/// Turns the part of a source that this process has read into the whole one, in which the texts of other processes
/// are empty. `has_labels` says whether the rows have labels.
///
/// # Errors
/// Returns an error if the processes have read different data, or if a process is lost.
fn assemble(
    own: Source,
    part: &Part,
    config: &DataConfig,
    has_labels: bool,
    collective: &Arc<dyn Collective>,
) -> anyhow::Result<Source> {
    let Source { rows, inputs, hashes, known_labels, scratch, .. } = own;
    let json = serde_json::to_vec(&rows.header()).context("cannot encode JSON")?;
    let decode = |json: Vec<u8>| serde_json::from_slice(&json).context("cannot decode JSON");
    let headers: Vec<RowsHeader> =
        collective.gather_bytes(&json)?.into_iter().map(decode).collect::<anyhow::Result<_>>()?;
    let counts = collective.gather_number(rows.len() as u64)?;
    let counts: Vec<usize> = counts.into_iter().map(|count| count as usize).collect();
    let count = counts.iter().sum();
    let shards = match part {
        Part::Files { .. } => Shards::consecutive(collective.clone(), &counts),
        Part::Whole | Part::EveryNth(_) => {
            let size = counts.len();
            let of_rank = |rank: usize| (count + size - 1 - rank) / size;
            ensure!(
                counts.iter().enumerate().all(|(rank, rows)| *rows == of_rank(rank)),
                "the processes have read different rows of \"{}\"; it must be the same file on all machines",
                rows.path.display()
            );
            Shards::interleaved(collective.clone())
        }
    };
    let shards = Arc::new(shards);
    let files = whole_files(&rows, &headers, &counts, part);
    let whole = whole_rows(rows, &headers, part, config, has_labels, (&shards, count))?;
    let inputs = inputs.into_iter().map(|texts| texts.into_shard(&shards, count));
    Ok(Source {
        inputs: inputs.collect::<anyhow::Result<_>>()?,
        hashes: shards.complete(0..count, &hashes)?,
        rows: Rows { files, ..whole },
        known_labels,
        scratch,
    })
}

/// Returns the rows of all processes.
fn whole_rows(
    own: Rows,
    headers: &[RowsHeader],
    part: &Part,
    config: &DataConfig,
    has_labels: bool,
    (shards, count): (&Shards, usize),
) -> anyhow::Result<Rows> {
    // In the order in which one process finds them.
    let label_names: IndexSet<&String> = headers.iter().flat_map(|header| &header.names).collect();
    let group_names: IndexSet<&String> = headers.iter().flat_map(|header| &header.groups).collect();
    let index = |names: &IndexSet<&String>, name: &String| {
        names.get_index_of(name).map(|index| index as u32)
    };
    let label_of: Vec<Option<u32>> =
        own.label_names.iter().map(|name| index(&label_names, name)).collect();
    let targets = own.targets.with_classes(&label_of, label_names.len());
    // All names are among those of all processes.
    let targets = targets.unwrap_or_default();
    let targets = match has_labels {
        true => whole_targets(&targets, label_names.len(), count, shards)?,
        false => targets,
    };
    let groups: Vec<u32> = own
        .groups
        .iter()
        .map(|group| {
            let name = own.group_names.get_index(*group as usize);
            name.and_then(|name| index(&group_names, name)).unwrap_or(NO_GROUP)
        })
        .collect();
    let groups = match has_labels && config.split.group.is_some() {
        true => shards.complete(0..count, &groups)?,
        false => Vec::new(),
    };
    let lines = shards.complete(0..count, &own.lines)?;
    // Every process reads all rows, if each tokenizes some of them.
    let readers = if let Part::Files { .. } = part { headers } else { &headers[..1] };
    let sum = |of: fn(&RowsHeader) -> usize| readers.iter().map(of).sum();
    Ok(Rows {
        path: own.path,
        files: own.files,
        targets,
        label_names: label_names.into_iter().cloned().collect(),
        groups,
        group_names: group_names.into_iter().cloned().collect(),
        lines,
        skipped: sum(|header| header.skipped),
        first_skipped: readers.iter().find_map(|header| header.first_skipped.clone()),
        not_utf8: sum(|header| header.not_utf8),
        long_row: readers.iter().find_map(|header| header.long_row.clone()),
    })
}

/// Returns all files with their first rows. `counts` are the numbers of rows of the processes.
fn whole_files(own: &Rows, headers: &[RowsHeader], counts: &[usize], part: &Part) -> Vec<RowsFile> {
    let file =
        |path: &PathBuf, first: usize, unit: Unit| RowsFile { path: path.clone(), first, unit };
    if let Part::Files { all, .. } = part {
        let mut before = 0;
        let files = headers.iter().zip(counts).flat_map(|(header, count)| {
            let start = before;
            before += count;
            header.files.iter().map(move |(first, unit)| (start + first, *unit))
        });
        return all
            .iter()
            .zip(files)
            .map(|(path, (first, unit))| file(path, first, unit))
            .collect();
    }
    let firsts = |index: usize| {
        headers.iter().filter_map(|header| header.files.get(index)).map(|(first, _)| first).sum()
    };
    let files = own.files.iter().enumerate();
    files.map(|(index, own)| file(&own.path, firsts(index), own.unit)).collect()
}

/// Returns the targets of all `count` rows, of which `own` are those of this process.
fn whole_targets(
    own: &Targets,
    classes: usize,
    count: usize,
    shards: &Shards,
) -> anyhow::Result<Targets> {
    let collective = shards.collective();
    let kind = match own {
        Targets::Labels(_) => 0,
        Targets::LabelSets(_) => 1,
        Targets::Probabilities { .. } | Targets::Distilled { .. } => 2,
    };
    let kinds = collective.gather_number(kind)?;
    ensure!(
        !(kinds.contains(&0) && kinds.contains(&1)),
        "some processes found lists of labels, and others found single labels"
    );
    Ok(match (own, kinds.into_iter().max()) {
        (Targets::Labels(labels), Some(0)) => Targets::Labels(shards.complete(0..count, labels)?),
        (Targets::LabelSets(sets), Some(1)) => Targets::LabelSets(whole_sets(sets, count, shards)?),
        _ => {
            let shares = own.iter().flat_map(|target: Target| target.shares(classes));
            let rows = collective.gather_arrays(&shares.collect::<Vec<f32>>())?;
            let mut rows: Vec<_> =
                rows.iter().map(|rows| rows.chunks_exact(classes.max(1))).collect();
            let row = |row: usize| rows[shards.owner(row)].next().unwrap_or_default();
            let probabilities = (0..count).flat_map(row).copied().collect();
            Targets::Probabilities { classes, probabilities }
        }
    })
}

fn whole_sets(own: &LabelSets, count: usize, shards: &Shards) -> anyhow::Result<LabelSets> {
    let lengths: Vec<u32> = (0..own.len()).map(|row| own.get(row).len() as u32).collect();
    let lengths = shards.complete(0..count, &lengths)?;
    let labels = shards.collective().gather_arrays(own.labels())?;
    let mut rest: Vec<&[u32]> = labels.iter().map(Vec::as_slice).collect();
    let sets = lengths.iter().enumerate().map(|(row, length)| {
        let rest = &mut rest[shards.owner(row)];
        let (set, others) = rest.split_at((*length as usize).min(rest.len()));
        *rest = others;
        set
    });
    Ok(sets.collect())
}

#[cfg(test)]
mod tests;
