// Runs the test files with the longest first, so that none of them runs alone at the end. Most of them wait for a deadline
// or a guest; the searches keep a core busy, and one runs beside the others from the beginning.

import { basename } from "node:path";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Files that take more than half a minute on an idle machine of two cores, the longest first. */
const longest = [
  "search-hosts",
  "host-sweep",
  "postcopy",
  "authority",
  "settling",
  "search-features",
  "migrate",
  "real",
  "storage",
  "search-peer-to-peer",
  "libvirtd",
  "operator-decides",
  "virsh-migrate",
  "search-managed",
  "stream",
  "peer-to-peer",
  "stream-port",
  "guarantees",
  "storage-tls",
  "recovery",
  "search-libvirtd",
  "faults",
  "virsh-lifecycle",
  "host-judge",
  "search-fenced",
  "tunnelled",
  "older-protocols",
  "evidence",
  "cli",
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = longest.indexOf(basename(moduleId, ".test.ts"));
      return found === -1 ? longest.length : found;
    };
    // Equal ranks keep the runner's own order: by size, or by what its cache says.
    return (await super.sort(files)).sort((one, other) => rank(one) - rank(other));
  }
}
