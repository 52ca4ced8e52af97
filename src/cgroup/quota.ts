/** CPU quotas as systemd has them: in whole percents of a CPU. Pure. */
import type { Resources } from "../spec/schema.ts";

type Integer = number | bigint;

const DEFAULT_PERIOD = 100_000n;
const SECOND = 1_000_000n;
const PERCENT = SECOND / 100n;

/** Microseconds in each second, rounded up to a whole percent; undefined for no limit. Period 0 is the default one. */
export function quotaPerSecond(quota: Integer, period: Integer): bigint | undefined {
  if (BigInt(quota) <= 0n) return undefined;
  const exact = BigInt(quota) * SECOND / (BigInt(period) || DEFAULT_PERIOD);
  return (exact + PERCENT - 1n) / PERCENT * PERCENT;
}

/** Resources with the quota that systemd makes of theirs: what is written stays when systemd writes again. */
export function withWholePercents(resources: Resources): Resources {
  const { quota = 0, period = 0 } = resources.cpu ?? {};
  const perSecond = quotaPerSecond(quota, period);
  const whole = perSecond === undefined ? quota : perSecond * (BigInt(period) || DEFAULT_PERIOD) / SECOND;
  return BigInt(whole) === BigInt(quota) ? resources : { ...resources, cpu: { ...resources.cpu, quota: whole } };
}
