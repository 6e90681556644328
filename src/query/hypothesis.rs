//! Whether one node can be what another one suffers from.

use crate::diagnose::hypothesis::{Tested, test};
use crate::diagnose::{self, Options};
use crate::model::id::ServiceId;
use crate::model::tenant::Scope;
use crate::model::time::Window;

use super::error::Error;
use super::handle::Query;
use super::window::Comparison;

/// A hypothesis with what speaks for and against it.
#[derive(Debug, Clone)]
pub struct Hypothesis {
    /// Who suffers: who was named, or who shows the window's worst symptom, or is in trouble by what it logs; none where nothing
    /// suffers.
    pub effect: Option<ServiceId>,
    /// What was found; none where nothing suffers.
    pub tested: Option<Tested>,
    /// The windows that were compared.
    pub comparison: Comparison,
    /// Whether anything is known of the time before.
    pub has_baseline: bool,
}

impl Query {
    /// Tests whether `cause` can be what `effect`, or who is worst in the window, suffers from.
    ///
    /// # Errors
    /// When a name is unknown or the store does not answer.
    pub async fn hypothesis(
        &self,
        scope: &Scope,
        asked: Window,
        (cause, effect): (&str, Option<&str>),
    ) -> Result<Hypothesis, Error> {
        let cause = self.service(scope, cause)?;
        let effect = effect.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let (evidence, _) = Box::pin(self.divided(cause.tenant, asked, (effect, None))).await?;
        let has_baseline = evidence.baseline.is_some();
        let before = evidence.baseline.unwrap_or(Window::new(evidence.window.from, evidence.window.from));
        let comparison = Comparison { now: evidence.window, before };
        let cause = cause.id;
        let work = tokio::task::spawn_blocking(move || {
            let effect = effect.or_else(|| {
                let verdict = diagnose::root_cause(&evidence, None, &Options::default());
                verdict.sufferer()
            });
            (effect, effect.map(|effect| test(&evidence, cause, effect)))
        });
        let (effect, tested) = work.await.map_err(|_| Error::Abandoned)?;
        Ok(Hypothesis { effect, tested, comparison, has_baseline })
    }
}
