// An OpenTelemetry SDK as a user would load it into switchoverd: it appends its spans to the file named by SPANS, a line each.

import { appendFileSync } from "node:fs";
import { NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";

const exporter = {
  export: (spans, done) => {
    for (const it of spans)
      appendFileSync(
        process.env.SPANS,
        `${JSON.stringify({ name: it.name, ...it.spanContext(), parent: it.parentSpanContext?.spanId })}\n`,
      );
    done({ code: 0 });
  },
  shutdown: async () => {},
};
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
