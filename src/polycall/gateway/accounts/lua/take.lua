-- KEYS: the counter, the leases.  ARGV: holder, least, limit, now, until, slices, end, member, seed.
-- Gives what was granted, what is left, what is leased; -1 where a new counter needs its seed.
local taken = tonumber(redis.call('HGET', KEYS[1], 'taken'))
if not taken then
  if ARGV[9] == '' then return {-1, 0, 0} end
  taken = tonumber(ARGV[9])
  redis.call('HSET', KEYS[1], 'taken', ARGV[9], 'leased', 0)
  redis.call('EXPIREAT', KEYS[1], ARGV[7])
end
local leased = tonumber(redis.call('HGET', KEYS[1], 'leased'))
local left = tonumber(ARGV[3]) - taken
local least = tonumber(ARGV[2])
if least > left then return {0, left, leased} end
local amount = math.max(least, math.floor(left / tonumber(ARGV[6])))
redis.call('HINCRBY', KEYS[1], 'taken', string.format('%.0f', amount))
redis.call('HINCRBY', KEYS[1], 'leased', string.format('%.0f', amount))
redis.call('HINCRBY', KEYS[1], 'amount:' .. ARGV[1], string.format('%.0f', amount))
redis.call('HSETNX', KEYS[1], 'settled:' .. ARGV[1], ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[8])
return {amount, left - amount, leased}
