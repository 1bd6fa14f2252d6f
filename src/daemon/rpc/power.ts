// Handles libvirt's procedures for shutdown, reset and autostart.

import type { Domain as WireDomain } from "../../drivers/libvirt/rpc/libvirt-types.js";
import type { remote } from "../../drivers/libvirt/rpc/procedures.js";
import type { Handlers } from "../../drivers/libvirt/rpc/service.js";
import type { Host } from "../host.js";
import { libvirtError, noAgent } from "./errors.js";
import { allOf, checkFlags } from "./flags.js";

/** The shutdown methods that apply to QEMU; libvirt's others do not. */
const ways = { acpi: 1, agent: 2 };

export function powerHandlers({ domains }: Host): Handlers<typeof remote.procedures> {
  const press = async ({ uuid }: WireDomain, button: "system_powerdown" | "system_reset") => {
    await domains.press(domains.byUuid(uuid), button);
  };
  return {
    domainShutdown: async ({ dom }) => {
      await press(dom, "system_powerdown");
    },
    domainShutdownFlags: async ({ dom, flags }) => {
      checkFlags(flags, allOf(ways));
      if (flags === ways.agent) throw noAgent();
      await press(dom, "system_powerdown");
    },
    domainReboot: ({ dom, flags }) => {
      checkFlags(flags, allOf(ways));
      domains.liveOf(domains.byUuid(dom.uuid));
      if (flags === ways.agent) throw noAgent();
      throw libvirtError(
        "OPERATION_UNSUPPORTED",
        "QEMU cannot request a reboot of the guest; reboot it from inside, reset it, or shut it down and start it",
      );
    },
    domainReset: async ({ dom, flags }) => {
      checkFlags(flags, 0);
      await press(dom, "system_reset");
    },
    domainGetAutostart: ({ dom }) => ({ autostart: domains.byUuid(dom.uuid).autostart ? 1 : 0 }),
    domainSetAutostart: async ({ dom, autostart }) => {
      const entry = domains.byUuid(dom.uuid);
      await domains.request(entry, { type: "operator.autostartRequested" });
      await domains.setAutostart(entry, autostart !== 0);
    },
  };
}
