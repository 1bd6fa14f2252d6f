// Gives switchoverd an OpenTelemetry SDK of yours: `node --import ./otel.mjs $(which switchoverd)`, after
// `npm install @opentelemetry/sdk-trace-node @opentelemetry/exporter-trace-otlp-http`.

import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

// It goes where OTEL_EXPORTER_OTLP_ENDPOINT says.
const spanProcessors = [new BatchSpanProcessor(new OTLPTraceExporter())];
new NodeTracerProvider({ spanProcessors }).register();
