//! Layout of the picture: two columns and two rows of charts above a legend.

pub(super) const WIDTH: u32 = 1500;
pub(super) const MARGIN: f64 = 36.0;

/// Vertical position of the legend, below the charts.
pub(super) const LEGEND_TOP: f64 = 892.0;
pub(super) const LEGEND_ROW: f64 = 32.0;
/// Length of a line in the legend.
pub(super) const LEGEND_LINE: f64 = 44.0;

/// Horizontal edges of a chart.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) left: f64,
    pub(super) right: f64,
}

/// Vertical position of the title of a chart, and its vertical edges.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) title: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

pub(super) const LEFT: Column = Column { left: 100.0, right: 720.0 };
pub(super) const RIGHT: Column = Column { left: 844.0, right: WIDTH as f64 - MARGIN };
pub(super) const UPPER: Row = Row { title: 90.0, top: 122.0, bottom: 482.0 };
pub(super) const LOWER: Row = Row { title: 550.0, top: 582.0, bottom: 802.0 };
