-- ARGV: holder, spent, returned, now, until, member.  Gives 1 where the lease was lost.
if redis.call('EXISTS', KEYS[1]) == 0 then return 1 end
local field = 'amount:' .. ARGV[1]
if redis.call('HEXISTS', KEYS[1], field) == 0 then
  local known = tonumber(redis.call('HGET', KEYS[1], 'known:' .. ARGV[1])) or 0
  known = math.min(known, tonumber(ARGV[2]))
  if known > 0 then
    redis.call('HINCRBY', KEYS[1], 'known:' .. ARGV[1], string.format('%.0f', 0 - known))
  end
  redis.call('HINCRBY', KEYS[1], 'taken', string.format('%.0f', tonumber(ARGV[2]) - known))
  return 1
end
local both = string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[3]))
redis.call('HINCRBY', KEYS[1], 'taken', string.format('%.0f', 0 - tonumber(ARGV[3])))
redis.call('HINCRBY', KEYS[1], 'leased', string.format('%.0f', 0 - tonumber(both)))
local amount = redis.call('HINCRBY', KEYS[1], field, string.format('%.0f', 0 - tonumber(both)))
if amount == 0 then
  redis.call('HDEL', KEYS[1], field, 'settled:' .. ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[6])
else
  redis.call('HSET', KEYS[1], 'settled:' .. ARGV[1], ARGV[4])
  redis.call('ZADD', KEYS[2], ARGV[5], ARGV[6])
end
return 0
