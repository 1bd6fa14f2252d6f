// The state and services that all migrations of one daemon share.

import type { FileJournal } from "../drivers/journal/types.js";
import type { Hosting } from "../drivers/qemu/process/spec.js";
import type { EngineContext } from "../effects/actors.js";
import type { Clock, Ids } from "../effects/ports.js";
import type { Deadlines } from "../protocol/deadlines.js";
import type { Policy } from "../protocol/unreachable-policy.js";
import type { DaemonConfig } from "./config.js";
import type { JobNews } from "./domains/job-events.js";
import type { Domains } from "./domains/registry.js";
import type { Tokens } from "./migrations/tokens.js";

export interface Host {
  readonly config: DaemonConfig;
  readonly domains: Domains;
  readonly jobs: JobNews;
  readonly journal: FileJournal;
  readonly tokens: Tokens;
  readonly surroundings: EngineContext;
  readonly deadlines: Deadlines;
  readonly policy: Policy;
  readonly clock: Clock;
  readonly hosting: Hosting;
  readonly ids: Ids;
  readonly warn: (sentence: string) => void;
}
