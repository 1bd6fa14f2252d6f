// Starts one switchoverd: opens its state, resumes the migrations that were under way, then listens; and shuts it down in
// order. Its guests keep running.

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { etcdFence } from "../drivers/fencing/etcd.js";
import { openFileJournal } from "../drivers/journal/file-journal.js";
import { RpcServer } from "../drivers/libvirt/rpc/server.js";
import { systemClock, systemIds } from "../drivers/platform/clock.js";
import type { Fence } from "../effects/ports.js";
import type { Observe } from "../effects/trace.js";
import type { Served } from "../inspector/server/http.js";
import { defaultDeadlines } from "../protocol/deadlines.js";
import { messageOf } from "../protocol/effect-result.js";
import type { DaemonConfig } from "./config.js";
import { autostart } from "./domains/autostart.js";
import { askBack } from "./domains/away.js";
import { JobNews } from "./domains/job-events.js";
import { examineAll } from "./domains/recovery.js";
import { Domains } from "./domains/registry.js";
import type { Host } from "./host.js";
import { compacting } from "./journal-compaction.js";
import { limitsWithin, openFilesLimit, withPendingSettles } from "./limits.js";
import { Migrations } from "./migrations/registry.js";
import { Tokens } from "./migrations/tokens.js";
import { observing } from "./observability.js";
import { services } from "./rpc/services.js";

export interface Daemon {
  /** URL of the inspector's page and the metrics; null when they are not served. */
  readonly http: string | null;
  /** Accepts no new calls and lets running ones finish until the deadline. Guests and migrations are not touched. */
  stop(options: { readonly deadlineMs: number }): Promise<void>;
}

/** @throws Error when the state cannot be opened, another daemon holds it, or the daemon cannot listen. */
export async function startDaemon(
  config: DaemonConfig,
  { warn, log }: { readonly warn: (sentence: string) => void; readonly log?: Observe },
): Promise<Daemon> {
  const { stateDirectory, runDirectory, socket, tls, tcp } = config;
  await mkdir(runDirectory, { recursive: true, mode: 0o711 });
  await mkdir(dirname(socket.path), { recursive: true });
  const journal = await openFileJournal(`${stateDirectory}/journal`);
  const clock = systemClock;
  const domains = await Domains.open({
    stateDirectory,
    runDirectory,
    clock,
    warn,
    hosting: config.hosting,
    journal: journal.identity,
    askBack: (uuid, away) => askBack(config, clock, uuid, away),
  });
  const fence = fenceOf(config);
  const seen = observing(config, log);
  const given = Object.fromEntries(
    Object.entries(config.deadlines).filter(([, deadlineMs]) => deadlineMs !== undefined),
  );
  const host: Host = {
    config,
    domains,
    jobs: new JobNews(),
    journal,
    tokens: await Tokens.open(stateDirectory, clock),
    surroundings: { journal, clock, fence, observe: seen.observe },
    deadlines: { ...defaultDeadlines, ...given },
    policy: config.policy,
    hosting: config.hosting,
    clock,
    ids: systemIds,
    warn,
  };
  const migrations = new Migrations(host);
  const server = new RpcServer({
    clock,
    services: withPendingSettles(config.limits.maxPendingSettles, services(host, migrations)),
    ...limitsWithin(config.limits, await openFilesLimit()),
    log: warn,
    onError: (error, procedure) => warn(`${procedure}: ${messageOf(error)}`),
  });
  let http: Served | null = null;
  let stopCompacting = async () => {};
  try {
    await examineAll(host, await migrations.recover());
    await autostart(host);
    await server.listenUnix({
      path: socket.path,
      mode: Number.parseInt(socket.mode, 8),
      ...(socket.owner && { owner: socket.owner }),
    });
    if (tcp !== undefined) await server.listenTcp(tcp);
    if (tls !== undefined) await server.listenTls(tls);
    http = await seen.listen(domains);
    stopCompacting = compacting(host);
  } catch (error) {
    await server.stop({ deadlineMs: 0 });
    await journal.close();
    throw error;
  }
  return {
    http: http?.url ?? null,
    stop: async (options) => {
      await server.stop(options);
      await http?.close();
      domains.stop();
      await stopCompacting();
      await journal.close();
    },
  };
}

function fenceOf({ etcd }: DaemonConfig): Fence | undefined {
  const [first, ...others] = etcd;
  return first === undefined ? undefined : etcdFence({ endpoints: [first, ...others] });
}
