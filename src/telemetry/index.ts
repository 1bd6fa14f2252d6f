// `switchover/telemetry`: metrics, spans and log lines of migrations, for your own program.

export { createLog, type Log } from "./log.js";
export { createMetrics, type Metrics, type MetricsOptions } from "./metrics.js";
export { traceIdOf, traceMigrations } from "./traces.js";
