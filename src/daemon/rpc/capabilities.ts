// Describes the host in libvirt's capabilities XML: enough for virsh, virt-manager and similar clients.

import { DOMImplementation } from "@xmldom/xmldom";
import { printXml } from "../../drivers/domain-xml/xml/parse.js";
import type { Host } from "../host.js";

export function capabilities({ config }: Host): string {
  const document = new DOMImplementation().createDocument(null, "capabilities");
  const root = document.documentElement;
  if (root === null) throw new Error("a new document has no root");
  const add = (to: typeof root, name: string, text?: string, attributes: Record<string, string> = {}) => {
    const element = document.createElement(name);
    if (text !== undefined) element.appendChild(document.createTextNode(text));
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    to.appendChild(element);
    return element;
  };
  const host = add(root, "host");
  add(host, "uuid", config.hostUuid);
  add(add(host, "cpu"), "arch", "x86_64");
  const migration = add(host, "migration_features");
  add(migration, "live");
  add(add(migration, "uri_transports"), "uri_transport", "tcp");
  const guest = add(root, "guest");
  add(guest, "os_type", "hvm");
  const arch = add(guest, "arch", undefined, { name: "x86_64" });
  add(arch, "wordsize", "64");
  add(arch, "emulator", "qemu-system-x86_64");
  for (const type of ["qemu", "kvm"]) add(arch, "domain", undefined, { type });
  return printXml(root);
}
