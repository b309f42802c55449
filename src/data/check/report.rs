//! All findings on the data of a configuration.

use super::{duplicates, groups, leakage, texts};
use crate::config::Config;
use crate::data::data_splits::DataSplits;
use crate::data::finding::Finding;
use crate::data::split_name::SplitName;
use crate::text::{Corpus, Encoder};

/// Returns the findings on the data: those of reading and splitting, and those on the encoded texts. `corpora`
/// has the texts of each part, for each input, as `encoders` encode them.
///
/// # Errors
/// Returns an error if a process is lost that has some of the texts.
pub fn findings(
    splits: &DataSplits,
    corpora: [&[Corpus]; 3],
    encoders: &[Encoder],
    config: &Config,
) -> anyhow::Result<Vec<Finding>> {
    let inputs = &config.inputs;
    let mut findings = splits.findings.clone();
    findings.extend(texts::script_findings(&splits.train, inputs));
    for (name, corpora) in SplitName::ALL.into_iter().zip(corpora) {
        let adjective = format!("{} ", name.adjective());
        let examples = splits.split(name);
        findings.extend(texts::findings(&adjective, examples, inputs, encoders, corpora)?);
        if !examples.is_empty() {
            findings.extend(texts::unknown_tokens(&adjective, examples, inputs, encoders, corpora));
        }
    }
    findings.extend(groups::findings(splits, &config.data));
    findings.extend(leakage::findings(&splits.train, &splits.labels, inputs));
    let train = duplicates::token_hashes(&splits.train, encoders)?;
    findings.extend(duplicates::repeated(SplitName::Train, &splits.train, &train));
    for name in [SplitName::Validation, SplitName::Test] {
        let examples = splits.split(name);
        let hashes = duplicates::token_hashes(examples, encoders)?;
        findings.extend(duplicates::repeated(name, examples, &hashes));
        let (train, other) = ((&splits.train, &train[..]), (examples, &hashes[..]));
        findings.extend(duplicates::shared(name, train, other, &config.data));
    }
    Ok(findings)
}
