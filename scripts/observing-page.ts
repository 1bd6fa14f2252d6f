// docs/observing.md: what a switchoverd lets others see; the metrics are read off the code that makes them.

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
  return `# What a switchoverd lets you see

\`\`\`json
{ "http": { "host": "127.0.0.1", "port": 9177 } }
\`\`\`

in its configuration serves two things, on loopback, on a unix socket (\`"http": { "socket": "/run/switchover/http.sock" }\`), or on any other address to whoever has the \`token\` (as \`?token=…\`, or as \`Authorization: Bearer …\`):

- \`/\`: the [inspector's page](inspecting.md) of its migrations, those under way and the last 200;
- \`/metrics\`: Prometheus' text.

## Metrics

${table(["metric", "type", "labels", "what it is"], rows)}

Beside them are the usual ones of the process (\`process_*\`, \`nodejs_*\`). Of one domain there is something only while it migrates, so that their number stays bounded. [packaging/grafana-dashboard.json](../packaging/grafana-dashboard.json) is a dashboard of them.

## Traces

The migration's id is the trace's id, so the source, the destination and whoever coordinates are one trace, whichever process made the spans, and nothing more is sent between the hosts than before: the id travels in the cookie already. There is a span for each side, and beneath it one for each effect and each question, with its step, how it was answered, and what failed.

switchoverd speaks to OpenTelemetry's API and brings no SDK: load yours, such as [examples/otel.mjs](../examples/otel.mjs), and its spans go where that sends them:

\`\`\`sh
OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 node --import ./otel.mjs "$(which switchoverd)"
\`\`\`

In an engine of your own: \`migrate({ guest, observe: traceMigrations() })\`, from \`switchover/telemetry\`. When one of the hosts is a libvirtd, the trace has what is on our side.

## Logs

\`switchoverd --log json\` writes a line of JSON (pino's form) to stdout for each state of each side, each failure and each undo, with \`migrationId\`, \`trace_id\` and \`domain\`; \`--log-level debug\` has the states inside of others too. Without it what went wrong is said on stderr, in sentences.`;
}
