// scripts/build-page.ts generates this module when it builds the page.

declare module "virtual:charts" {
  import type { Chart } from "../story/chart.js";
  /** Only top-level states. */
  export const overview: readonly Chart[];
  /** All states. */
  export const whole: readonly Chart[];
}
