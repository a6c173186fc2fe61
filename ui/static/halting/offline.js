/** Component: halting view of the exported page, which loads nothing. */

import { createHaltingMount } from "./mount.js";
import { SvgCharts } from "./svg-charts.js";

export const mount = createHaltingMount(SvgCharts);
