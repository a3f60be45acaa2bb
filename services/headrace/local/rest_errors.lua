-- Turns the transcoder's google.rpc.Status into {"error": message}.
--
-- The transcoder prints a Status in field order, so its message stands first,
-- behind the code. Its JSON escapes are kept as they are: nothing is decoded, so
-- nothing can be encoded wrongly. A body of any other form is left alone.

-- The escaped text of the JSON string that begins at `start`, and where it ends.
local function json_string(text, start)
  local at = start
  while true do
    local stop = text:find('["\\]', at)
    if stop == nil then return nil end
    if text:byte(stop) == 34 then return text:sub(start, stop - 1), stop end
    at = stop + 2 -- a backslash and what it escapes
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = tonumber(headers:get(":status"))
  if status == nil or status < 400 or headers:get("content-type") ~= "application/json" then return end
  local body = handle:body()
  if body == nil then return end
  local text = body:getBytes(0, body:length())
  local _, before = text:find('^{"code":%d+,"message":"')
  local message, stop = "", 1
  if before ~= nil then
    message, stop = json_string(text, before + 1)
    if message == nil then return end
  elseif text:find('^{"code":%d+[,}]') == nil then
    return
  end
  headers = handle:headers() -- the one from before the body is stale
  if headers:get("retry-after") == nil then
    local seconds = text:match('"retryDelay":"([%d.]+)s"', stop)
    if seconds ~= nil then
      headers:add("retry-after", string.format("%d", math.max(1, math.ceil(tonumber(seconds)))))
    end
  end
  body:setBytes('{"error":"' .. message .. '"}')
end
