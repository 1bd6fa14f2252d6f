// `switchover/telemetry`: metrics, spans and log lines of migrations, for an engine of your own.

export { createLog, type Log } from "./log.js";
export { createMetrics, type Metrics, type MetricsOptions } from "./metrics.js";
export { traceIdOf, traceMigrations } from "./traces.js";
