//! Whether one node, or a host or zone, can be what a node suffers from.

use crate::diagnose::hypothesis::{Tested, test};
use crate::diagnose::{self, Options, placed};
use crate::model::id::{ServiceId, TenantNumber};
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
    /// Whether the suspect is a host, a zone or the like.
    pub is_place: bool,
}

/// Who or what is suspected.
#[derive(Debug, Clone)]
enum Suspect {
    Node(ServiceId),
    /// A host, a zone or the like, by its name.
    Place(String),
}

impl Query {
    /// Tests whether `cause`, a node or else a host or zone on which instances run, can be what `effect`, or who is worst in the window, suffers from.
    ///
    /// # Errors
    /// When a name is unknown or the store does not answer.
    pub async fn hypothesis(
        &self,
        scope: &Scope,
        asked: Window,
        (cause, effect): (&str, Option<&str>),
    ) -> Result<Hypothesis, Error> {
        let (tenant, cause) = self.suspect(scope, cause)?;
        let effect = effect.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let (evidence, _) = Box::pin(self.divided(tenant, asked, (effect, None))).await?;
        let has_baseline = evidence.baseline.is_some();
        let before = evidence.baseline.unwrap_or(Window::new(evidence.window.from, evidence.window.from));
        let comparison = Comparison { now: evidence.window, before };
        let is_place = matches!(cause, Suspect::Place(_));
        let work = tokio::task::spawn_blocking(move || {
            let effect = effect.or_else(|| {
                let verdict = diagnose::root_cause(&evidence, None, &Options::default());
                verdict.sufferer()
            });
            let tested = effect.map(|effect| match &cause {
                Suspect::Node(cause) => test(&evidence, *cause, effect),
                Suspect::Place(name) => placed::test(&evidence, name, effect),
            });
            (effect, tested)
        });
        let (effect, tested) = work.await.map_err(|_| Error::Abandoned)?;
        Ok(Hypothesis { effect, tested, comparison, has_baseline, is_place })
    }

    /// A node of this name, or else a place.
    fn suspect(&self, scope: &Scope, name: &str) -> Result<(TenantNumber, Suspect), Error> {
        match self.service(scope, name) {
            Ok(info) => Ok((info.tenant, Suspect::Node(info.id))),
            Err(unknown) => {
                let tenant = self.tenant(scope).filter(|tenant| self.knows_place(*tenant, name));
                tenant.map(|tenant| (tenant, Suspect::Place(name.to_owned()))).ok_or(unknown)
            }
        }
    }
}
