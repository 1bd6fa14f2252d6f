// Handles libvirt's migration procedures: the steps, and the queries and settings while a migration is under way.

import type { Domain as WireDomain } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { remote } from "../../drivers/libvirt/rpc/procedures.js";
import type { Handlers } from "../../drivers/libvirt/rpc/service.js";
import { checkLimits, type Limits } from "../../protocol/convergence/limits.js";
import { finishedStats, jobInfo, jobStats } from "../domains/job.js";
import type { ManagedDomain } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import type { Migrations } from "../migrations/registry.js";
import { libvirtError } from "./errors.js";
import { allOf, checkFlags } from "./flags.js";
import { stepHandlers } from "./migration-procedures.js";

/** Flags of DOMAIN_GET_JOB_STATS. */
const statsFlags = { completed: 1, keepCompleted: 2 };

/** Flags of DOMAIN_ABORT_JOB_FLAGS. */
const abortFlags = { postcopy: 1 };
const notInterrupted =
  "post-copy cannot be interrupted; the hosts reconnect a broken post-copy stream by themselves";

export function migrateHandlers(host: Host, migrations: Migrations): Handlers<typeof remote.procedures> {
  const { domains } = host;
  const of = ({ uuid }: WireDomain) => domains.byUuid(uuid);
  const abort = async ({ job }: ManagedDomain) => {
    if (job === null) throw libvirtError("OPERATION_INVALID", "no job is active on the domain");
    const { accepted, why } = await job.abort();
    if (!accepted) throw libvirtError("OPERATION_INVALID", why);
  };
  const limited = (limits: Partial<Limits>): Partial<Limits> => {
    try {
      checkLimits(limits);
      return limits;
    } catch (error) {
      throw libvirtError("INVALID_ARG", error instanceof Error ? error.message : String(error));
    }
  };
  return {
    domainGetJobInfo: ({ dom }) => jobInfo(of(dom).job, host.clock.now()),
    domainGetJobStats: ({ dom, flags }, client) => {
      checkFlags(flags, allOf(statsFlags));
      const entry = of(dom);
      if ((flags & statsFlags.completed) === 0) return jobStats(entry.job, host.clock.now());
      // Reading the statistics discards them, which a read-only connection must not do to other clients.
      const keep = client.readOnly || (flags & statsFlags.keepCompleted) !== 0;
      const finished = host.jobs.read(entry, { keep });
      return finished === null ? jobStats(null, host.clock.now()) : finishedStats(finished);
    },
    domainAbortJob: async ({ dom }) => {
      await abort(of(dom));
    },
    domainAbortJobFlags: async ({ dom, flags }) => {
      checkFlags(flags, allOf(abortFlags));
      if ((flags & abortFlags.postcopy) !== 0) throw libvirtError("OPERATION_UNSUPPORTED", notInterrupted);
      await abort(of(dom));
    },
    domainMigrateStartPostCopy: async ({ dom, flags }) => {
      checkFlags(flags, 0);
      await migrations.startPostcopy(of(dom));
    },
    domainMigrateSetMaxDowntime: async ({ dom, downtime, flags }) => {
      checkFlags(flags, 0);
      await migrations.setLimits(of(dom), limited({ maxDowntimeMs: Number(downtime) }));
    },
    domainMigrateSetMaxSpeed: async ({ dom, bandwidth, flags }) => {
      checkFlags(flags, 0);
      const bandwidthMiBps = Number(bandwidth);
      await migrations.setLimits(of(dom), limited({ bandwidthMiBps, diskBandwidthMiBps: bandwidthMiBps }));
    },
    domainMigrateGetMaxDowntime: ({ dom, flags }) => {
      checkFlags(flags, 0);
      return { downtime: BigInt(of(dom).limits.maxDowntimeMs) };
    },
    domainMigrateGetMaxSpeed: ({ dom, flags }) => {
      checkFlags(flags, 0);
      return { bandwidth: BigInt(of(dom).limits.bandwidthMiBps) };
    },
    ...stepHandlers(host, migrations),
  };
}
