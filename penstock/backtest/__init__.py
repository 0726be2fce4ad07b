"""`penstock backtest`: the forecast against what came, in rows and a picture."""
