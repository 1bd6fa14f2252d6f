// Made when the page is built, by scripts/build-page.ts.

declare module "virtual:charts" {
  import type { Chart } from "../story/chart.js";
  /** With the states at the top alone. */
  export const overview: readonly Chart[];
  /** With all states. */
  export const whole: readonly Chart[];
}
