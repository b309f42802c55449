//! Random mutations of valid files.

use std::cell::Cell;
use std::env;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use crate::allocations::with_largest;

/// Maximum number of bytes that reading a file may allocate at once.
const ALLOCATION_LIMIT: usize = 64 << 20;

/// A mutation of a file.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Repeat(Index, Index, u8),
    Truncate(Index),
}

/// Bytes with a meaning in one of the formats.
const TOKENS: [&[u8]; 24] = [
    b"\n",
    b"\r\n",
    b"\"",
    b",",
    b"\t",
    b"\0",
    b"\xFF",
    b"\xEF\xBB\xBF",
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"&a ",
    b"*a",
    b"!!binary ",
    b"-1",
    b"1e999",
    b".nan",
    b"9999999999999999999999",
    b"__label__",
    b"\xC3\x28",
    b"\x80\x80\x80\x80",
];

fn mutation() -> impl Strategy<Value = Mutation> {
    let token = (0..TOKENS.len()).prop_map(|index| TOKENS[index].to_vec());
    let bytes = prop_oneof![token, vec(any::<u8>(), 1..9)];
    prop_oneof![
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Remove(from, to)),
        (any::<Index>(), any::<Index>(), 1_u8..40).prop_map(|(a, b, n)| Mutation::Repeat(a, b, n)),
        any::<Index>().prop_map(Mutation::Truncate),
    ]
}

fn mutate(file: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for mutation in mutations {
        let end = bytes.len() + 1;
        let between = |a: &Index, b: &Index| {
            let (a, b) = (a.index(end), b.index(end));
            a.min(b)..a.max(b)
        };
        match mutation {
            Mutation::Flip(at, bit) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Mutation::Flip(..) => {}
            Mutation::Insert(at, more) => {
                let at = at.index(end);
                bytes.splice(at..at, more.iter().copied());
            }
            Mutation::Remove(from, to) => {
                bytes.drain(between(from, to));
            }
            Mutation::Repeat(from, to, times) => {
                let range = between(from, to);
                let repeated = bytes[range.clone()].repeat(usize::from(*times));
                if repeated.len() < 1 << 16 {
                    bytes.splice(range, repeated);
                }
            }
            Mutation::Truncate(at) => bytes.truncate(at.index(end)),
        }
    }
    bytes
}

/// Reads mutated files until the time is up. `read` returns true if it accepts a file.
pub fn fuzz(target: &str, corpus: &[Vec<u8>], read: impl Fn(&[u8]) -> bool) {
    let seconds = env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let time = Duration::from_secs_f64(seconds.unwrap_or(0.3));
    assert!(corpus.iter().all(|file| read(file)), "{target}: a valid file is rejected");
    let slowest = Cell::new(Duration::ZERO);
    let read = |bytes: &[u8]| {
        let start = Instant::now();
        let (accepted, largest) = with_largest(|| read(bytes));
        assert!(largest <= ALLOCATION_LIMIT, "{largest} bytes are allocated at once");
        slowest.set(slowest.get().max(start.elapsed()));
        accepted
    };
    let start = Instant::now();
    let (mut files, mut accepted) = (0_u64, 0_u64);
    let strategy = (any::<Index>(), vec(mutation(), 1..9));
    while start.elapsed() < time {
        let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
        let counts = Cell::new((0, 0));
        TestRunner::new(config)
            .run(&strategy, |(file, mutations)| {
                let accepted = read(&mutate(&corpus[file.index(corpus.len())], &mutations));
                let (files, good) = counts.get();
                counts.set((files + 1, good + u64::from(accepted)));
                Ok(())
            })
            .unwrap_or_else(|fault| panic!("{target}: {fault}"));
        let (more, good) = counts.get();
        (files, accepted) = (files + more, accepted + good);
    }
    let (time, slowest) = (time.as_secs_f64(), slowest.get().as_secs_f64());
    println!("{target}: {files} files, {accepted} accepted, {time:.1} s, slowest {slowest:.3} s");
    assert!(accepted < files, "{target}: every mutated file is accepted");
}
