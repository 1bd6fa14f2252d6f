// Observability of a switchoverd: metrics, the inspector's page, spans, a structured log. All of them consume the same
// stream of observations, which is produced only when at least one of them is enabled.

import { readFileSync } from "node:fs";
import { isSpanContextValid, trace } from "@opentelemetry/api";
import { apart } from "../effects/isolate-callback.js";
import type { Observe } from "../effects/trace.js";
import { type Handler, refuse, type Served, serveHttp } from "../inspector/server/http.js";
import { Hub } from "../inspector/server/hub.js";
import { inspectorRoutes } from "../inspector/server/routes.js";
import { messageOf } from "../protocol/effect-result.js";
import { createMetrics } from "../telemetry/metrics.js";
import { traceMigrations } from "../telemetry/traces.js";
import type { DaemonConfig } from "./config.js";
import type { Domains } from "./domains/registry.js";

export interface Observing {
  /** Undefined when no observer is enabled. */
  readonly observe: Observe | undefined;
  /** Serves the endpoints that `http` configures; null without it. @throws Error when it cannot listen. */
  listen(domains: Domains): Promise<Served | null>;
}

const version = (): string => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  return String(version);
};

/** Creates the observers that the configuration enables; `log` receives all observations too. */
export function observing({ http }: Pick<DaemonConfig, "http">, log?: Observe): Observing {
  const tracer = trace.getTracer("switchover", version());
  const watchers: Observe[] = [];
  // Without an SDK a tracer records nothing and can be skipped; with one, even a span that is not sampled has an id.
  if (isSpanContextValid(tracer.startSpan("probe").spanContext())) watchers.push(traceMigrations(tracer));
  if (log !== undefined) watchers.push(log);
  let here: Pick<Domains, "all"> = { all: [] };
  const hub = new Hub();
  const metrics =
    http === undefined ? undefined : createMetrics({ version: version(), domains: () => count(here.all) });
  if (metrics !== undefined) watchers.push(hub.observe, metrics.observe);
  return {
    observe:
      watchers.length === 0
        ? undefined
        : (seen) => {
            for (const watcher of watchers) apart(() => watcher(seen));
          },
    listen: async (domains) => {
      if (http === undefined || metrics === undefined) return null;
      here = domains;
      const scrape: Handler = (_, response) => {
        metrics.registry.metrics().then(
          (text) => {
            response.writeHead(200, { "content-type": metrics.registry.contentType });
            response.end(text);
          },
          (error: unknown) => refuse(response, 500, messageOf(error)),
        );
      };
      return serveHttp({ ...inspectorRoutes(hub), "/metrics": scrape }, http);
    },
  };
}

function count(domains: Domains["all"]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { state } of domains) counts[state.name] = (counts[state.name] ?? 0) + 1;
  return counts;
}
