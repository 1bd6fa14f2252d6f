// Which migration capabilities and parameters QEMU is given, how they are put back to what they were, and how much
// memory there is to move.

import type { Limits } from "../../protocol/convergence.js";
import type { CommandArguments, Monitor } from "./monitor/commands.js";

type Capabilities = CommandArguments<"migrate-set-capabilities">["capabilities"];

/**
 * Without `events` the switchover would have to be polled; without `return-path` a destination that cannot load the
 * stream leaves nobody running (QEMU 7.2: 7 of 12 failures).
 */
export const requiredCapabilities = ["events", "return-path"] as const;

/** Used where both QEMUs know them; the gate only when there is something to do in it (docs/decisions/0004). */
const wantedCapabilities = ["late-block-activate", "validate-uuid"] as const;
const gateCapability = "pause-before-switchover";
const ours: readonly string[] = [...requiredCapabilities, ...wantedCapabilities, gateCapability];

export interface Gate {
  /** Whether QEMU is to wait between the guest's stop and the switchover, until it is told to go on. */
  readonly pauseBeforeSwitchover: boolean;
}

/** Our capabilities, on or off, as far as both QEMUs know them; names the missing one when a required one is. */
export function chooseCapabilities(
  own: readonly string[],
  peer: readonly string[],
  { pauseBeforeSwitchover }: Gate,
): Capabilities | { missing: string } {
  const both = (it: string) => own.includes(it) && peer.includes(it);
  const missing = requiredCapabilities.find((it) => !both(it));
  if (missing !== undefined) return { missing };
  const state = (it: string) => it !== gateCapability || pauseBeforeSwitchover;
  return ours.filter(both).map((capability) => ({ capability, state: state(capability) }));
}

/** Above any real link, and small enough for QEMU to do sums with. */
const unlimitedBytesPerSecond = 2 ** 50;

const limitParameters = ({ bandwidthMiBps, maxDowntimeMs }: Limits) => ({
  "max-bandwidth": bandwidthMiBps === 0 ? unlimitedBytesPerSecond : Math.round(bandwidthMiBps * 2 ** 20),
  "downtime-limit": Math.round(maxDowntimeMs),
});

export const setLimits = (monitor: Monitor, limits: Limits) =>
  monitor.execute("migrate-set-parameters", limitParameters(limits));

export const setCapabilities = (monitor: Monitor, capabilities: Capabilities) =>
  monitor.execute("migrate-set-capabilities", { capabilities });

/** What QEMU's migration settings were before us. */
export interface Settings {
  /** Every migration capability that this QEMU knows. */
  readonly known: readonly string[];
  readonly capabilities: CommandArguments<"migrate-set-capabilities">;
  readonly parameters: CommandArguments<"migrate-set-parameters">;
}

export async function readSettings(monitor: Monitor): Promise<Settings> {
  const capabilities = await monitor.execute("query-migrate-capabilities", {});
  const parameters = await monitor.execute("query-migrate-parameters", {});
  const bandwidth = parameters["max-bandwidth"];
  const downtime = parameters["downtime-limit"];
  return {
    known: capabilities.map((it) => it.capability),
    capabilities: {
      capabilities: capabilities
        .filter((it) => ours.includes(it.capability))
        .map(({ capability, state }) => ({ capability, state })),
    },
    parameters: {
      ...(bandwidth !== undefined && { "max-bandwidth": bandwidth }),
      ...(downtime !== undefined && { "downtime-limit": downtime }),
    },
  };
}

export async function putBack(monitor: Monitor, settings: Settings): Promise<void> {
  await monitor.execute("migrate-set-capabilities", settings.capabilities);
  await monitor.execute("migrate-set-parameters", settings.parameters);
}

/** What the destination must have as much of, hot-plugged memory included. */
export async function memoryBytes(monitor: Monitor): Promise<number> {
  const size = await monitor.execute("query-memory-size-summary", {});
  return size["base-memory"] + (size["plugged-memory"] ?? 0);
}
