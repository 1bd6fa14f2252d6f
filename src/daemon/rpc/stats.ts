// Handles libvirt's procedures for domain statistics. As in libvirt, values that QEMU and Linux do not report are omitted.

import { memoryKiB } from "../../drivers/domain-xml/schema/system.js";
import { domainStates } from "../../drivers/libvirt/rpc/constants.js";
import type { TypedParam, Domain as WireDomain } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { remote } from "../../drivers/libvirt/rpc/procedures.js";
import type { Handlers } from "../../drivers/libvirt/rpc/service.js";
import { cpuTimes, residentKiB } from "../../drivers/platform/procfs.js";
import { beginDirtyRate } from "../../drivers/qemu/migration/dirty-rate.js";
import { messageOf } from "../../protocol/effect-result.js";
import type { Live, ManagedDomain } from "../domains/managed-domain.js";
import type { Host } from "../host.js";
import { libvirtError, noAgent } from "./errors.js";
import { allOf, checkFlags } from "./flags.js";
import { isListed, listFlags } from "./listing.js";
import { toWireDomain } from "./wire-domain.js";

const vcpuFlags = { live: 1, config: 2, maximum: 4, guest: 8 };
/** Tags of DOMAIN_MEMORY_STATS. */
const memoryTags = { actualBalloon: 6, rss: 7 };
const statsTypes = { state: 1, cpu: 2, balloon: 4, vcpu: 8, dirtyRate: 512 };
const dirtyRateStatus = { unstarted: 0, measuring: 1, measured: 2 };
const { active, inactive, persistent, transient, running, paused, shutoff, other } = listFlags;
const statsListed = { active, inactive, persistent, transient, running, paused, shutoff, other };
/** `noWait` has no effect, because statistics never wait for a job. */
const statsFlags = { noWait: 2 ** 29, enforce: 2 ** 31 };
const vcpuRunning = 1;

export function statsHandlers({ domains }: Host): Handlers<typeof remote.procedures> {
  const of = ({ uuid }: WireDomain) => domains.byUuid(uuid);
  return {
    domainGetInfo: async ({ dom }) => {
      const entry = of(dom);
      const model = modelOf(entry);
      return {
        state: domainStates[entry.state.name],
        maxMem: BigInt(model === undefined ? 0 : memoryKiB(model.memory)),
        memory: BigInt(await balloonKiB(entry)),
        nrVirtCpu: model?.vcpu?.text ?? 1,
        cpuTime: entry.live === null ? 0n : (cpuOf(entry.live)?.totalNs ?? 0n),
      };
    },
    domainGetVcpusFlags: ({ dom, flags }) => {
      checkFlags(flags, allOf(vcpuFlags));
      const entry = of(dom);
      const has = (flag: keyof typeof vcpuFlags) => (flags & vcpuFlags[flag]) !== 0;
      if (has("guest")) throw noAgent();
      if (has("live") && has("config")) throw libvirtError("INVALID_ARG", "either live or config, not both");
      if (has("live")) domains.liveOf(entry);
      if (has("config") && entry.definition === null)
        throw libvirtError("OPERATION_INVALID", "transient domains do not have any persistent configuration");
      const model = has("config") ? entry.definition?.model : modelOf(entry);
      return { num: model?.vcpu?.text ?? 1 };
    },
    domainMemoryStats: async ({ dom, maxStats, flags }) => {
      checkFlags(flags, 0);
      const entry = of(dom);
      const { guest } = domains.liveOf(entry);
      const rss = residentKiB(guest.process.pid);
      const stats = [
        ...(hasBalloon(entry)
          ? [{ tag: memoryTags.actualBalloon, val: BigInt(await balloonKiB(entry)) }]
          : []),
        ...(rss === undefined ? [] : [{ tag: memoryTags.rss, val: BigInt(rss) }]),
      ];
      return { stats: stats.slice(0, maxStats) };
    },
    domainStartDirtyRateCalc: async ({ dom, seconds, flags }) => {
      // Only page sampling is supported: the other modes crash QEMU 7.2 under TCG.
      checkFlags(flags, 0);
      const { guest } = domains.liveOf(of(dom));
      try {
        await beginDirtyRate(guest.process, seconds);
      } catch (error) {
        throw libvirtError(
          error instanceof RangeError ? "INVALID_ARG" : "OPERATION_FAILED",
          messageOf(error),
        );
      }
    },
    connectGetAllDomainStats: async ({ doms, stats, flags }) => {
      checkFlags(flags, allOf(statsListed) | allOf(statsFlags));
      const unknown = (stats & ~allOf(statsTypes)) >>> 0;
      if (unknown !== 0 && (flags & statsFlags.enforce) !== 0)
        throw libvirtError("ARGUMENT_UNSUPPORTED", `stats types 0x${unknown.toString(16)} are not supported`);
      const wanted = stats === 0 ? allOf(statsTypes) : stats;
      const asked =
        doms.length > 0
          ? doms.map(of)
          : domains.all.filter((domain) => isListed(domain, flags & allOf(statsListed)));
      const retStats = asked.map(async (domain) => ({
        dom: toWireDomain(domain),
        params: await statsOf(domain, wanted),
      }));
      return { retStats: await Promise.all(retStats) };
    },
  };
}

async function statsOf(entry: ManagedDomain, wanted: number): Promise<TypedParam[]> {
  const { state, live } = entry;
  const has = (type: keyof typeof statsTypes) => (wanted & statsTypes[type]) !== 0;
  const model = modelOf(entry);
  const params: TypedParam[] = [];
  const int = (field: string, value: number) => params.push({ field, type: "int", value });
  const count = (field: string, value: number) => params.push({ field, type: "uint", value });
  const signed = (field: string, value: number) =>
    params.push({ field, type: "llong", value: BigInt(value) });
  const large = (field: string, value: bigint) => params.push({ field, type: "ullong", value });
  if (has("state")) {
    int("state.state", domainStates[state.name]);
    int("state.reason", state.reason);
  }
  const cpu = has("cpu") && live !== null ? cpuOf(live) : undefined;
  if (cpu !== undefined) {
    large("cpu.time", cpu.totalNs);
    large("cpu.user", cpu.userNs);
    large("cpu.system", cpu.systemNs);
  }
  if (has("balloon") && model !== undefined) {
    large("balloon.current", BigInt(await balloonKiB(entry)));
    large("balloon.maximum", BigInt(memoryKiB(model.memory)));
    const rss = live === null ? undefined : residentKiB(live.guest.process.pid);
    if (rss !== undefined) large("balloon.rss", BigInt(rss));
  }
  if (has("vcpu")) {
    const number = model?.vcpu?.text ?? 1;
    count("vcpu.current", number);
    count("vcpu.maximum", number);
    for (const { index, totalNs } of live === null ? [] : await vcpusOf(live)) {
      int(`vcpu.${index}.state`, vcpuRunning);
      large(`vcpu.${index}.time`, totalNs);
    }
  }
  const { main } = live?.guest.process ?? {};
  const rate = has("dirtyRate")
    ? await main?.execute("query-dirty-rate", {}).catch(() => undefined)
    : undefined;
  if (rate !== undefined) {
    int("dirtyrate.calc_status", dirtyRateStatus[rate.status]);
    signed("dirtyrate.calc_start_time", rate["start-time"]);
    int("dirtyrate.calc_period", rate["calc-time"]);
    params.push({ field: "dirtyrate.calc_mode", type: "string", value: rate.mode });
    if (rate["dirty-rate"] !== undefined) signed("dirtyrate.megabytes_per_second", rate["dirty-rate"]);
  }
  return params;
}

const modelOf = ({ live, definition }: ManagedDomain) => (live?.domain ?? definition)?.model;
const hasBalloon = (entry: ManagedDomain) => modelOf(entry)?.devices.memballoon?.model === "virtio";

/** Returns the guest's current memory; its full memory when it has no balloon or QEMU does not report it. */
async function balloonKiB(entry: ManagedDomain): Promise<number> {
  const model = modelOf(entry);
  const whole = model === undefined ? 0 : memoryKiB(model.memory);
  if (entry.live === null || !hasBalloon(entry)) return whole;
  const { main } = entry.live.guest.process;
  return main.execute("query-balloon", {}).then(
    ({ actual }) => Math.floor(actual / 1024),
    () => whole,
  );
}

const cpuOf = ({ guest }: Live, thread?: number) => {
  const times = cpuTimes(guest.process.pid, thread);
  return times && { ...times, totalNs: times.userNs + times.systemNs };
};

async function vcpusOf(live: Live): Promise<{ index: number; totalNs: bigint }[]> {
  const cpus = await live.guest.process.main.execute("query-cpus-fast", {}).catch(() => []);
  return cpus.flatMap((processor) => {
    const times = cpuOf(live, processor["thread-id"]);
    return times === undefined ? [] : [{ index: processor["cpu-index"], totalNs: times.totalNs }];
  });
}
