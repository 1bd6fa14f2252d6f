// Serves the inspector's page from an embedder's own process.

import type { Observe } from "../../effects/trace.js";
import { type Listening, type Served, serveHttp } from "./http.js";
import { Hub } from "./hub.js";
import type { GivenStory } from "./page-file.js";
import { inspectorRoutes } from "./routes.js";

export interface InspectorOptions extends Listening {
  /** The store of observed migrations. Default: a new hub. Null: no migrations are observed; only the given stories are shown. */
  readonly hub?: Hub | null;
  readonly stories?: readonly GivenStory[];
}

export interface Inspector extends Served {
  /** Pass this to `migrate` and the other entry points. */
  readonly observe: Observe;
}

/** @throws Error when it cannot listen on the address. */
export async function serveInspector(options: InspectorOptions = {}): Promise<Inspector> {
  const { hub = new Hub(), stories = [], ...listening } = options;
  const served = await serveHttp(inspectorRoutes(hub, stories), listening);
  return { ...served, observe: (seen) => hub?.observe(seen) };
}
