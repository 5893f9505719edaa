//! The view register: the one place that holds the current view, changed by compare-and-swap (`PacificA` §2.3, the
//! configuration manager).
//!
//! A register promises: `read` is linearizable; of all proposals for one view number at most one is ever installed; a
//! proposal for a number that is not the next after the installed one is answered with the view that is there. A register has
//! an identity, which comes with its first view (number 1 and nothing else) and which no copy of it has too; a later view that
//! names another identity is refused. After an error the outcome is unknown; the proposer repeats the very same proposal.

mod file;

pub use file::FileRegister;

use futures_util::future::BoxFuture;
use protocol::{RegisterId, SwapOutcome, View, ViewNumber};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// Why a register did not answer.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// A file or folder of it can't be read or written.
    #[error("the view register at {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A newer version of the program wrote it.
    #[error(
        "a newer version of the program wrote the view register's file {path}: it has format {found}, and this one knows {known}; use the newer program"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// What it holds is not a view.
    #[error(
        "the view register's file {path} is damaged: {what}; if no other copy exists, see `trialogue recover`"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Holds the current view.
pub trait ViewRegister: Send + Sync + std::fmt::Debug {
    /// The register's identity and the installed view; `None` if none ever was.
    fn read(&self) -> BoxFuture<'_, Result<Option<(RegisterId, View)>, RegisterError>>;

    /// Installs a view if this is that register and the installed view has the number before it. View 1 is installed if there
    /// is none, and the register is that one from then on.
    fn compare_and_swap(
        &self,
        register: RegisterId,
        view: View,
    ) -> BoxFuture<'_, Result<SwapOutcome, RegisterError>>;
}

/// A register in memory, for tests: it is what the others are compared with.
#[derive(Debug, Default)]
pub struct MemoryRegister {
    current: Mutex<Option<(RegisterId, View)>>,
}

impl ViewRegister for MemoryRegister {
    fn read(&self) -> BoxFuture<'_, Result<Option<(RegisterId, View)>, RegisterError>> {
        Box::pin(async { Ok(self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()) })
    }

    fn compare_and_swap(
        &self,
        register: RegisterId,
        view: View,
    ) -> BoxFuture<'_, Result<SwapOutcome, RegisterError>> {
        Box::pin(async move {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let decided = decide(current.as_ref(), register, &view);
            if decided.is_none() {
                *current = Some((register, view));
            }
            Ok(decided.unwrap_or(SwapOutcome::Installed))
        })
    }
}

/// What becomes of a proposal beside what is installed; `None` if it is to be installed.
fn decide(
    installed: Option<&(RegisterId, View)>,
    register: RegisterId,
    proposal: &View,
) -> Option<SwapOutcome> {
    let first = proposal.number == ViewNumber(1);
    match installed {
        None => (!first).then_some(SwapOutcome::Foreign),
        Some((id, _)) if *id != register && !first => Some(SwapOutcome::Foreign),
        Some((_, installed)) if installed == proposal => Some(SwapOutcome::Installed),
        Some((_, installed)) if installed.number.next() != proposal.number => {
            Some(SwapOutcome::Superseded(installed.clone()))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod conformance {
    //! What every register must do. A new kind of register runs this suite.

    use super::*;
    use protocol::{DatabaseId, Incarnation, Member, Op, Proposer, ReplicaIndex, ReplicaSet};
    use std::sync::Arc;

    pub(crate) fn proposal(number: u64, proposer: u8, attempt: u64) -> View {
        let index = ReplicaIndex(proposer);
        View {
            number: ViewNumber(number),
            members: vec![Member { index, database: DatabaseId([proposer; 16]) }],
            in_sync: ReplicaSet::EMPTY.with(index),
            op: Op(number * 10),
            proposed_by: Proposer { index, incarnation: Incarnation(u64::from(proposer)), attempt },
        }
    }

    pub(crate) const MINE: RegisterId = RegisterId([7; 16]);

    pub(crate) async fn suite(register: Arc<dyn ViewRegister>) {
        let swap = |view: View| {
            let register = register.clone();
            async move { register.compare_and_swap(MINE, view).await.unwrap() }
        };
        assert_eq!(register.read().await.unwrap(), None, "a new register is empty");
        let first = proposal(1, 0, 1);
        for number in [2, 7] {
            assert_eq!(
                swap(proposal(number, 0, 1)).await,
                SwapOutcome::Foreign,
                "a first view is number 1 and nothing else"
            );
        }
        assert_eq!(swap(first.clone()).await, SwapOutcome::Installed);
        assert_eq!(register.read().await.unwrap(), Some((MINE, first.clone())));
        // The same proposal again, because its answer was lost: it is installed, whichever replica asks.
        assert_eq!(swap(first.clone()).await, SwapOutcome::Installed);
        // The same number with another nonce is another proposal.
        assert_eq!(swap(proposal(1, 0, 2)).await, SwapOutcome::Superseded(first.clone()));
        assert_eq!(
            swap(proposal(3, 0, 3)).await,
            SwapOutcome::Superseded(first),
            "a number must not be left out"
        );
        let second = proposal(2, 1, 1);
        let elsewhere = register.compare_and_swap(RegisterId([8; 16]), second.clone()).await.unwrap();
        assert_eq!(elsewhere, SwapOutcome::Foreign, "a view that is meant for another register");
        assert_eq!(swap(second.clone()).await, SwapOutcome::Installed);
        // Of many proposers for one number exactly one wins, and the others learn of it.
        let racers = (0..8).map(|proposer| tokio::spawn(swap(proposal(3, proposer, 1))));
        let mut winners = 0;
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.unwrap() {
                SwapOutcome::Installed => winners += 1,
                SwapOutcome::Superseded(view) => {
                    assert_eq!(Some((MINE, view)), register.read().await.unwrap());
                }
                other => panic!("a register that works knows: {other:?}"),
            }
        }
        assert_eq!(winners, 1);
        // A proposer that slept for long must not win a number that was forgotten meanwhile.
        for number in 4..200 {
            assert_eq!(swap(proposal(number, 2, number)).await, SwapOutcome::Installed);
        }
        let newest = proposal(199, 2, 199);
        for slept in [1, 2, 3, 50, 198] {
            assert_eq!(
                swap(proposal(slept, 5, 9)).await,
                SwapOutcome::Superseded(newest.clone()),
                "view {slept}"
            );
        }
        assert_eq!(register.read().await.unwrap(), Some((MINE, newest)));
    }

    #[tokio::test]
    async fn the_register_in_memory_conforms() {
        suite(Arc::new(MemoryRegister::default())).await;
    }
}
