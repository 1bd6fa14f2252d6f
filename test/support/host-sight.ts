// An operator's view of a guest on a host.

import * as z from "zod/mini";
import { reasons } from "../../src/daemon/domains/managed-domain.js";
import { standing } from "../../src/daemon/domains/records.js";
import type { Redial } from "../../src/drivers/libvirt/client/reconnecting-client.js";
import { domainStates, jobTypes } from "../../src/drivers/libvirt/rpc/constants.js";
import { errorCodes, LibvirtError } from "../../src/drivers/libvirt/rpc/libvirt-error.js";
import { remote } from "../../src/drivers/libvirt/rpc/procedures.js";
import { own } from "../../src/drivers/libvirt/rpc/switchover-program.js";
import { messageOf } from "../../src/protocol/effect-result.js";
import type { ProofDomain } from "./host-process.js";

const { procedures } = remote;

export interface OnHost {
  readonly state: number | undefined;
  readonly hasJob: boolean;
  readonly quarantined: string | null;
  /** The guest was lost in post-copy: the rest runs until it needs memory that never arrived. */
  readonly isBroken: boolean;
  /** The reason why the host does not answer. */
  readonly unanswered: string | null;
}
export type Sight = ReadonlyMap<string, OnHost>;

const active: readonly (number | undefined)[] = [
  domainStates.running,
  domainStates.blocked,
  domainStates.paused,
];

/** Returns whether a host has the guest. */
export const isActive = ({ state }: OnHost): boolean => active.includes(state);

const isBrokenState = (state: number, reason: number): boolean =>
  (state === domainStates.running && reason === reasons.running.postcopyFailed) ||
  (state === domainStates.paused && reason === reasons.paused.postcopyFailed);

/** Never rejects: reports a host that does not answer as such. */
export async function seenAt(redial: Redial, { uuid, name }: ProofDomain): Promise<OnHost> {
  const dom = { uuid, name, id: -1 };
  const gone = { state: undefined, hasJob: false, quarantined: null, unanswered: null, isBroken: false };
  let quarantined: string | null = null;
  try {
    const told = await redial.call(own.procedures.standing, null);
    const mine = z.array(standing).parse(JSON.parse(told.domains));
    quarantined = mine.find((found) => found.uuid === uuid)?.quarantined ?? null;
    const { state, reason } = await redial.call(procedures.domainGetState, { dom, flags: 0 });
    const job = await redial.call(procedures.domainGetJobInfo, { dom });
    const isBroken = isBrokenState(state, reason);
    return { ...gone, state, isBroken, hasJob: job.type !== jobTypes.none, quarantined };
  } catch (error) {
    if (error instanceof LibvirtError && error.code === errorCodes.NO_DOMAIN) return { ...gone, quarantined };
    if (error instanceof LibvirtError) return { ...gone, hasJob: quarantined === null, quarantined };
    return { ...gone, unanswered: messageOf(error) };
  }
}

export const describe = (sight: Sight): string =>
  [...sight]
    .map(([name, { state, hasJob, quarantined, unanswered, isBroken }]) => {
      const job = hasJob ? " with a job" : "";
      const why = quarantined === null ? "" : ` quarantined (${quarantined})`;
      const mute = unanswered === null ? "" : ` does not answer (${unanswered})`;
      const broken = isBroken ? " lost in post-copy" : "";
      return `${name}: state ${state ?? "none"}${broken}${job}${why}${mute}`;
    })
    .join("; ");
