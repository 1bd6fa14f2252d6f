// Which migration capabilities and parameters QEMU is given, how they are put back to what they were, and how much
// memory there is to move.

import type { Limits } from "../../protocol/convergence.js";
import type { CommandArguments, Monitor } from "./monitor/commands.js";

/**
 * Without `events` the switchover would have to be polled; without `return-path` a destination that cannot load the
 * stream leaves nobody running (QEMU 7.2: 7 of 12 failures).
 */
export const requiredCapabilities = ["events", "return-path"] as const;

/** Used where both QEMUs know them. */
const wantedCapabilities = ["pause-before-switchover", "late-block-activate", "validate-uuid"] as const;

/** The capabilities that this QEMU and its peer are to switch on; names the missing one when a required one is. */
export function chooseCapabilities(
  own: readonly string[],
  peer: readonly string[],
): string[] | { missing: string } {
  const both = (it: string) => own.includes(it) && peer.includes(it);
  const missing = requiredCapabilities.find((it) => !both(it));
  return missing === undefined ? [...requiredCapabilities, ...wantedCapabilities.filter(both)] : { missing };
}

/** Above any real link, and small enough for QEMU to do sums with. */
const unlimitedBytesPerSecond = 2 ** 50;

const limitParameters = ({ bandwidthMiBps, maxDowntimeMs }: Limits) => ({
  "max-bandwidth": bandwidthMiBps === 0 ? unlimitedBytesPerSecond : Math.round(bandwidthMiBps * 2 ** 20),
  "downtime-limit": Math.round(maxDowntimeMs),
});

export const setLimits = (monitor: Monitor, limits: Limits) =>
  monitor.execute("migrate-set-parameters", limitParameters(limits));

export const setCapabilities = (monitor: Monitor, on: readonly string[]) =>
  monitor.execute("migrate-set-capabilities", {
    capabilities: on.map((capability) => ({ capability, state: true })),
  });

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
  const ours: readonly string[] = [...requiredCapabilities, ...wantedCapabilities];
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
