// Prints docs/observing.md; the table of metrics comes from the code that registers them.

import { createMetrics } from "../src/telemetry/metrics.js";
import { table } from "./table.js";

export async function observingPage(): Promise<string> {
  const { registry } = createMetrics({ version: "", domains: () => ({}) });
  const rows = (await registry.getMetricsAsJSON())
    .filter((withValues) => withValues.name.startsWith("switchover_"))
    .map(({ name, type, help }) => {
      const metric: object = registry.getSingleMetric(name) ?? {};
      const labels = "labelNames" in metric && Array.isArray(metric.labelNames) ? metric.labelNames : [];
      return [`\`${name}\``, String(type), labels.join(", "), help];
    });
  return `# Observability

\`\`\`json
{ "http": { "host": "127.0.0.1", "port": 9177 } }
\`\`\`

in the configuration of a switchoverd serves two things, on loopback, on a unix socket (\`"http": { "socket": "/run/switchover/http.sock" }\`), or on any other address to clients that present the \`token\` (as \`?token=…\`, or as \`Authorization: Bearer …\`):

- \`/\`: the [inspector's page](inspecting.md) of its migrations: those in progress and the last 200;
- \`/metrics\`: metrics in Prometheus' text format.

## Metrics

${table(["metric", "type", "labels", "meaning"], rows)}

The standard process metrics (\`process_*\`, \`nodejs_*\`) are exported too. A domain has metrics of its own only while it migrates, so that their number stays bounded. [packaging/grafana-dashboard.json](../packaging/grafana-dashboard.json) is a Grafana dashboard for these metrics.

## Traces

The migration id is the trace id. The source, the destination and the coordinator therefore form one trace, whichever process records the spans, and nothing extra is sent between the hosts: the cookie already carries the id. There is one span per side, and below it one span per effect and per query, with its step, its answer, and any failure.

switchoverd uses the OpenTelemetry API and does not bundle an SDK. Load your own, such as [examples/otel.mjs](../examples/otel.mjs); it exports the spans:

\`\`\`sh
OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 node --import ./otel.mjs "$(which switchoverd)"
\`\`\`

In an engine of your own: \`migrate({ guest, observe: traceMigrations() })\`, from \`switchover/telemetry\`. When one of the hosts is a libvirtd, the trace contains only the switchover side.

## Logs

\`switchoverd --log json\` writes a line of JSON (pino's format) to stdout for each state of each side, each failure and each undo, with \`migrationId\`, \`trace_id\` and \`domain\`; \`--log-level debug\` adds nested states. Without \`--log json\`, errors are printed on stderr as sentences.`;
}
