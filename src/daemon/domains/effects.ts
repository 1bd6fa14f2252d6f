// Binds the domain machine to QEMU and to the records on disk, once for all domains of a process.

import { fromPromise } from "xstate";
import { type Domain, parseDomain } from "../../drivers/domain-xml/domain.js";
import { type BuiltQemu, filesOf } from "../../drivers/domain-xml/qemu-args/build.js";
import { LibvirtError } from "../../drivers/libvirt/rpc/libvirt-error.js";
import { isAlive } from "../../drivers/platform/procfs.js";
import { answering } from "../../drivers/qemu/monitor/to-result.js";
import { giveTo } from "../../drivers/qemu/process/confinement.js";
import { endProcess } from "../../drivers/qemu/process/end-process.js";
import type { GuestLog } from "../../drivers/qemu/process/guest-log.js";
import { handleIn, keepHandle } from "../../drivers/qemu/process/handle-file.js";
import { QemuProcess } from "../../drivers/qemu/process/process.js";
import type { Hosting } from "../../drivers/qemu/process/spec.js";
import type { Clock } from "../../effects/ports.js";
import { asRunningGuest, type RunningGuest } from "../../library/local/running-guest.js";
import type { StartRequest } from "../../machines/domain/context.js";
import { domainMachine } from "../../machines/domain/machine.js";
import { type Answer, failed, messageOf, nothing, unknown } from "../../protocol/effect-result.js";
import { libvirtError } from "../rpc/errors.js";
import { type Live, type ManagedDomain, reasons } from "./managed-domain.js";
import { type DomainRecords, type Presence, readPresence } from "./records.js";

export type Authority = typeof domainMachine;

/** The part of `Domains` that the effects use. */
export interface BoundDomains {
  readonly options: {
    readonly clock: Clock;
    readonly warn: (sentence: string) => void;
    readonly hosting: Hosting;
  };
  readonly records: DomainRecords;
  byUuid(uuid: string): ManagedDomain;
  liveOf(entry: ManagedDomain): Live;
  tell(entry: ManagedDomain, event: "started", detail: "booted"): void;
  tell(entry: ManagedDomain, event: "suspended", detail: "paused"): void;
  build(domain: Domain): Promise<BuiltQemu>;
  directoryOf(name: string): string;
  logOf(name: string): GuestLog | undefined;
  enter(domain: Domain, guest: RunningGuest): Promise<ManagedDomain>;
  keep(domain: Domain, where: Pick<Presence, "incoming" | "handle" | "directory">): Promise<void>;
  keepRecordOf(uuid: string): void;
  forgetQemu(uuid: string): Promise<void>;
  recordAway(uuid: string): Promise<void>;
  setAway(uuid: string, away: null): Promise<void>;
  noteError(uuid: string, error: LibvirtError): void;
}

export function bindDomains(domains: BoundDomains): Authority {
  const { clock, warn, hosting } = domains.options;
  /** Starts under way, by uuid. A destroy waits for the start before it looks for the QEMU. */
  const booting = new Map<string, Promise<unknown>>();

  /** Converts exceptions to the effect's answer; a libvirt error is also kept for the request that waits. */
  const answered = async (
    uuid: string,
    run: () => Promise<Answer<null>>,
    signal?: AbortSignal,
  ): Promise<Answer<null>> => {
    try {
      return await run();
    } catch (error) {
      // An aborted effect fails for that reason alone, so its error is not kept.
      if (error instanceof LibvirtError && signal?.aborted !== true) domains.noteError(uuid, error);
      return failed(messageOf(error));
    }
  };

  const recordStart = ({ uuid, xml }: StartRequest) =>
    answered(uuid, async () => {
      const domain = parseDomain(xml);
      const before = await domains.records.presences.read(uuid);
      const left = before === undefined ? null : readPresence(before).handle;
      // The machine has been informed that the guest is not here; this is the last check before a second copy (G1).
      if (left !== null && isAlive(left)) {
        domains.keepRecordOf(uuid);
        throw libvirtError(
          "OPERATION_INVALID",
          `a QEMU of ${domain.name} (pid ${left.pid}) is still running`,
        );
      }
      const directory = domains.directoryOf(`guest-${uuid}`);
      await domains.keep(domain, { incoming: null, handle: null, directory });
      return nothing;
    });

  const boot = (request: StartRequest, signal: AbortSignal) => {
    const { uuid } = request;
    const booted = bootUnless(request, signal).finally(() => booting.delete(uuid));
    booting.set(uuid, booted);
    return booted;
  };

  const bootUnless = ({ uuid, xml, paused }: StartRequest, signal: AbortSignal) =>
    answered(
      uuid,
      async () => {
        const domain = parseDomain(xml);
        const { spec, sideArgs } = await domains.build(domain);
        const directory = domains.directoryOf(`guest-${uuid}`);
        const all = [...sideArgs, ...(paused ? ["-S"] : [])];
        if (hosting.user !== undefined) await giveTo(hosting.user, filesOf(domain));
        if (signal.aborted) return failed("the domain was destroyed while it started");
        const options = { clock, hosting, directory, sideArgs: all, signal };
        const qemu = await QemuProcess.start(spec, options).catch((error) => {
          throw libvirtError("INTERNAL_ERROR", messageOf(error), { cause: error });
        });
        if (signal.aborted) {
          await endProcess(qemu);
          return failed("the domain was destroyed while it started");
        }
        await keepHandle(directory, qemu.handle);
        const entry = await domains.enter(domain, asRunningGuest(spec, qemu));
        entry.state = paused
          ? { name: "paused", reason: reasons.paused.user }
          : { name: "running", reason: reasons.running.booted };
        domains.tell(entry, "started", "booted");
        if (paused) domains.tell(entry, "suspended", "paused");
        return nothing;
      },
      signal,
    );

  /** Ends the guest's QEMU: the one that this host holds, or the one that the record on disk names. */
  const endQemu = (uuid: string) =>
    answered(uuid, async () => {
      await booting.get(uuid);
      const { live, name } = domains.byUuid(uuid);
      if (live !== null) return endProcess(live.guest.process);
      const text = await domains.records.presences.read(uuid);
      if (text === undefined) return nothing;
      const { handle, directory } = readPresence(text);
      const found = handle ?? (directory === null ? undefined : await handleIn(directory));
      if (found === undefined || !isAlive(found)) return nothing;
      return endProcess(QemuProcess.mute(found, { clock, log: domains.logOf(name) }));
    });

  const commanded = (uuid: string, command: "stop" | "cont") =>
    answering(async () => {
      await domains.liveOf(domains.byUuid(uuid)).guest.process.main.execute(command, {});
      return nothing;
    }).catch((error: unknown) => unknown(messageOf(error)));

  const forgetQemu = async (uuid: string): Promise<Answer<null>> => {
    try {
      await domains.forgetQemu(uuid);
    } catch (error) {
      // The QEMU is gone anyway; a restarted host detects that again.
      warn(`the record of guest ${uuid} cannot be removed: ${messageOf(error)}`);
    }
    return nothing;
  };

  return domainMachine.provide({
    actors: {
      recordStart: fromPromise(({ input }) => recordStart(input)),
      boot: fromPromise(({ input, signal }) => boot(input, signal)),
      endQemu: fromPromise(({ input }) => endQemu(input)),
      stopVcpus: fromPromise(({ input }) => commanded(input, "stop")),
      continueVcpus: fromPromise(({ input }) => commanded(input, "cont")),
      recordAway: fromPromise(({ input }) =>
        answered(input, async () => {
          await domains.recordAway(input);
          return nothing;
        }),
      ),
      forgetAway: fromPromise(({ input }) =>
        answered(input, async () => {
          await domains.setAway(input, null);
          return nothing;
        }),
      ),
      forgetQemu: fromPromise(({ input }) => forgetQemu(input)),
    },
  });
}
