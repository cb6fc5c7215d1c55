//! The progress bar of a map: on a terminal only, and only with the feature `progress`.

/// How far a map is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    #[cfg(feature = "progress")]
    bar: Option<indicatif::ProgressBar>,
}

#[cfg(feature = "progress")]
impl Progress {
    /// A bar of that label, of so many items where that is known; none without a label.
    pub(super) fn new(label: Option<String>, n_items: Option<usize>) -> Self {
        use std::io::IsTerminal;
        let shown = label.filter(|_| std::io::stderr().is_terminal());
        Progress {
            bar: shown.map(|label| bar(label, n_items)),
        }
    }

    pub(super) fn advance(&mut self, n_items: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(n_items as u64);
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}

#[cfg(feature = "progress")]
fn bar(label: String, n_items: Option<usize>) -> indicatif::ProgressBar {
    let (bar, template) = match n_items {
        Some(n_items) => (
            indicatif::ProgressBar::new(n_items as u64),
            "{msg} {wide_bar} {pos}/{len} {eta}",
        ),
        None => (
            indicatif::ProgressBar::new_spinner(),
            "{msg} {spinner} {pos} {per_sec}",
        ),
    };
    let style = indicatif::ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()))
        .with_message(label)
}

#[cfg(feature = "progress")]
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}

#[cfg(not(feature = "progress"))]
impl Progress {
    pub(super) fn new(_: Option<String>, _: Option<usize>) -> Self {
        Progress::default()
    }

    pub(super) fn advance(&mut self, _: usize) {}

    pub(super) fn finish(&mut self) {}
}
