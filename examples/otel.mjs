// Loads your OpenTelemetry SDK into switchoverd: `node --import ./otel.mjs $(which switchoverd)`, after
// `npm install @opentelemetry/sdk-trace-node @opentelemetry/exporter-trace-otlp-http`.

import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

// The exporter sends to the endpoint in OTEL_EXPORTER_OTLP_ENDPOINT.
const spanProcessors = [new BatchSpanProcessor(new OTLPTraceExporter())];
new NodeTracerProvider({ spanProcessors }).register();
