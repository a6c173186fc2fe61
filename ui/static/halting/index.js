/** Component: halting view of the page. */

import { createHaltingMount } from "./mount.js";
import { PlotlyCharts } from "./plotly-charts.js";

export const mount = createHaltingMount(PlotlyCharts);
