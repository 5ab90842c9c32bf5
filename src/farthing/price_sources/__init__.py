"""The open set of price sources: tables of what an hour of a machine costs."""
