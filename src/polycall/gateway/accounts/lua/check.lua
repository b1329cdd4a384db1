-- A worker that knows another name of what is in Redis speaks of what Redis has forgotten.
if redis.call('GET', KEYS[3]) ~= ARGV[#ARGV] then return -2 end
