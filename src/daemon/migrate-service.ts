// libvirt's procedures of migration: the steps, and what is asked or changed while one is under way.

import { flagsOf, isWrong, type MigrateFlag, parametersOf } from "../drivers/libvirt/flags.js";
import type { TypedParam, Domain as WireDomain } from "../drivers/libvirt-rpc/libvirt-types.js";
import type { remote } from "../drivers/libvirt-rpc/procedures.js";
import type { Handlers, RpcClient } from "../drivers/libvirt-rpc/service.js";
import { checkLimits, type Limits } from "../protocol/convergence.js";
import type { ManagedDomain } from "./domains.js";
import { no } from "./errors.js";
import type { Host } from "./host.js";
import { finishedStats, jobInfo, jobStats } from "./job.js";
import type { Migrations, StepWords } from "./migrations.js";
import { allOf, checkFlags } from "./service-flags.js";

const empty = new Uint8Array();

/** Of DOMAIN_GET_JOB_STATS. */
const statsFlags = { completed: 1, keepCompleted: 2 };

/** What each flag that is not supported would need. */
const unsupported: Partial<Record<MigrateFlag, string>> = {
  TUNNELLED: "tunnelled migration is not supported",
  NON_SHARED_DISK: "copying of storage is not supported",
  NON_SHARED_INC: "copying of storage is not supported",
  NON_SHARED_SYNCHRONOUS_WRITES: "copying of storage is not supported",
  COMPRESSED: "compression is not supported",
  ABORT_ON_ERROR: "aborting on I/O errors is not supported",
  AUTO_CONVERGE: "auto-convergence is not supported",
  RDMA_PIN_ALL: "RDMA is not supported",
  POSTCOPY: "post-copy is not supported",
  POSTCOPY_RESUME: "post-copy is not supported",
  TLS: "TLS of the memory stream is not supported",
  PARALLEL: "parallel connections are not supported",
  ZEROCOPY: "zero-copy is not supported",
};

/** @throws LibvirtError that names each flag that is not supported. */
function checkedFlags(bits: number): ReadonlySet<MigrateFlag> {
  const { flags, unknown } = flagsOf(bits);
  if (unknown !== 0) throw no("INVALID_ARG", `unsupported flags (0x${unknown.toString(16)})`);
  const refused = [...flags].flatMap((it) =>
    unsupported[it] === undefined ? [] : [`${it}: ${unsupported[it]}`],
  );
  if (refused.length > 0) throw no("ARGUMENT_UNSUPPORTED", refused.join("; "));
  return flags;
}

function words(params: readonly TypedParam[], cookie: Uint8Array, bits: number): StepWords {
  const parameters = parametersOf(params);
  if (isWrong(parameters)) {
    const { field, why } = parameters;
    const said = { unknown: "not supported", "wrong type": "of a wrong type", repeated: "given twice" }[why];
    throw no("ARGUMENT_UNSUPPORTED", `the migration parameter '${field}' is ${said}`);
  }
  return { flags: checkedFlags(bits), parameters, cookie };
}

export function migrateHandlers(host: Host, migrations: Migrations): Handlers<typeof remote.procedures> {
  const { domains } = host;
  const wire = ({ name, uuid, live }: ManagedDomain): WireDomain => ({ name, uuid, id: live?.id ?? -1 });
  const of = ({ uuid }: WireDomain) => domains.byUuid(uuid);
  const writing = (client: RpcClient) => {
    if (client.readOnly) throw no("OPERATION_DENIED", "read only access prevents this");
  };
  const abort = async ({ job }: ManagedDomain) => {
    if (job === null) throw no("OPERATION_INVALID", "no job is active on the domain");
    const { accepted, why } = await job.abort();
    if (!accepted) throw no("OPERATION_INVALID", why);
  };
  const limited = (limits: Partial<Limits>): Partial<Limits> => {
    try {
      checkLimits(limits);
      return limits;
    } catch (error) {
      throw no("INVALID_ARG", error instanceof Error ? error.message : String(error));
    }
  };
  return {
    domainGetJobInfo: ({ dom }) => jobInfo(of(dom).job, host.clock.now()),
    domainGetJobStats: ({ dom, flags }) => {
      checkFlags(flags, allOf(statsFlags));
      const entry = of(dom);
      if ((flags & statsFlags.completed) === 0) return jobStats(entry.job, host.clock.now());
      const keep = (flags & statsFlags.keepCompleted) !== 0;
      const finished = host.jobs.read(entry, { keep });
      return finished === null ? jobStats(null, host.clock.now()) : finishedStats(finished);
    },
    domainAbortJob: async ({ dom }, client) => {
      writing(client);
      await abort(of(dom));
    },
    domainAbortJobFlags: async ({ dom, flags }, client) => {
      writing(client);
      checkFlags(flags, 0);
      await abort(of(dom));
    },
    domainMigrateStartPostCopy: () => {
      throw no("OPERATION_UNSUPPORTED", "post-copy migration is not supported");
    },
    domainMigrateSetMaxDowntime: ({ dom, downtime, flags }, client) => {
      writing(client);
      checkFlags(flags, 0);
      migrations.tune(of(dom), limited({ maxDowntimeMs: Number(downtime) }));
    },
    domainMigrateSetMaxSpeed: ({ dom, bandwidth, flags }, client) => {
      writing(client);
      checkFlags(flags, 0);
      migrations.tune(of(dom), limited({ bandwidthMiBps: Number(bandwidth) }));
    },
    domainMigrateGetMaxDowntime: ({ dom, flags }) => {
      checkFlags(flags, 0);
      return { downtime: BigInt(of(dom).limits.maxDowntimeMs) };
    },
    domainMigrateGetMaxSpeed: ({ dom, flags }) => {
      checkFlags(flags, 0);
      return { bandwidth: BigInt(of(dom).limits.bandwidthMiBps) };
    },
    domainMigrateBegin3Params: async ({ dom, params, flags }, client) => {
      writing(client);
      const { xml, cookieOut } = await migrations.begin(of(dom), words(params, empty, flags), client);
      return { cookieOut, xml };
    },
    domainMigratePrepare3Params: async ({ params, cookieIn, flags }, client) => {
      writing(client);
      return migrations.prepare(words(params, cookieIn, flags), client);
    },
    domainMigratePerform3Params: async ({ dom, dconnuri, params, cookieIn, flags }, client) => {
      writing(client);
      return migrations.perform(of(dom), words(params, cookieIn, flags), dconnuri);
    },
    domainMigrateFinish3Params: async ({ params, flags, cancelled }, client) => {
      writing(client);
      const { parameters } = words(params, empty, flags);
      if (parameters.name === undefined) throw no("INVALID_ARG", "no destination name passed");
      return { dom: wire(await migrations.finish(parameters.name, cancelled !== 0)), cookieOut: empty };
    },
    domainMigrateConfirm3Params: async ({ dom, cancelled }, client) => {
      writing(client);
      await migrations.confirm(of(dom), cancelled !== 0);
    },
  };
}
