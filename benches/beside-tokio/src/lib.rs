//! How two candidates are compared: in turn, within each round, and by the ratio of a
//! round, so that a machine whose speed drifts slows both.
//!
//! ```text
//!   round 1: ours, theirs ─► ratio      round 2: theirs, ours ─► ratio      …
//!                                                    median (least-greatest)
//! ```

pub mod load;
pub mod process;
pub mod servers;

/// What a candidate costs per operation: any unit, as long as both use the same.
pub type Cost = f64;

/// Measures two candidates in turn, and prints the median of each, and the ratio of
/// theirs to ours: above one, ours is cheaper. Who begins changes with each round.
///
/// `unit` names the cost, "ns" say. Returns the median ratio.
pub fn compare<E>(
    what: &str,
    unit: &str,
    rounds: usize,
    mut ours: impl FnMut() -> Result<Cost, E>,
    mut theirs: impl FnMut() -> Result<Cost, E>,
) -> Result<f64, E> {
    let mut costs = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let (our, their) = if round % 2 == 0 {
            let our = ours()?;
            (our, theirs()?)
        } else {
            let their = theirs()?;
            (ours()?, their)
        };
        costs[0].push(our);
        costs[1].push(their);
        ratios.push(their / our);
    }
    let [our, their] = costs.map(|costs| Spread::of(costs).median);
    let Spread {
        least,
        median,
        greatest,
    } = Spread::of(ratios);
    println!(
        "{what:40}{our:>12.1} {unit}{their:>12.1} {unit}   {median:.2} ({least:.2}-{greatest:.2})"
    );
    Ok(median)
}

/// Prints the heading of the lines that [`compare`] prints.
pub fn print_heading(unit: &str) {
    let width = 12 + 1 + unit.len();
    println!(
        "{:40}{:>width$}{:>width$}   Tokio to millstream: median (least-greatest)",
        "", "millstream", "Tokio"
    );
}

/// The median of some figures, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least figure.
    pub least: f64,
    /// The one in the middle, the upper of two.
    pub median: f64,
    /// The greatest figure.
    pub greatest: f64,
}

impl Spread {
    /// Sorts the figures.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(mut figures: Vec<f64>) -> Spread {
        figures.sort_by(f64::total_cmp);
        Spread {
            least: figures[0],
            median: figures[figures.len() / 2],
            greatest: figures[figures.len() - 1],
        }
    }
}
