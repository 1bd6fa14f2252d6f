// The inspector's page, served for an embedder's own process.

import type { Observe } from "../../effects/trace.js";
import { type Listening, type Served, serveHttp } from "./http.js";
import { Hub } from "./hub.js";
import type { GivenStory } from "./page-file.js";
import { inspectorRoutes } from "./routes.js";

export interface InspectorOptions extends Listening {
  /** What is kept of the migrations. Default: a new one. Null: none are watched, and given stories are all. */
  readonly hub?: Hub | null;
  readonly stories?: readonly GivenStory[];
}

export interface Inspector extends Served {
  /** To be given to `migrate` and the others. */
  readonly observe: Observe;
}

/** @throws Error when it cannot listen there. */
export async function serveInspector(options: InspectorOptions = {}): Promise<Inspector> {
  const { hub = new Hub(), stories = [], ...listening } = options;
  const served = await serveHttp(inspectorRoutes(hub, stories), listening);
  return { ...served, observe: (seen) => hub?.observe(seen) };
}
